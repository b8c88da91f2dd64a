"""The catalogue of the embedded sample: films that do not exist.

Titles are made of word lists that go with the genre, so that a person can
tell from a list of titles whether a recommendation is sensible. About a third
of the films belong to series; the parts of a series carry numbers. What a film
is like is a direction: of its genres, of the word in its title and of its own.
"""

from dataclasses import dataclass

import numpy as np

REGIONS = ("north", "east", "south", "west", "overseas")
# From the most frequent to the rarest.
GENRES = {
    "Drama": "Orchard Letter Daughter Winter Confession Farewell Piano "
    "Inheritance Promise Lighthouse",
    "Comedy": "Wedding Neighbour Holiday Landlord Cousin Casserole Impostor "
    "Bachelor Reunion Moustache",
    "Romance": "Kiss Bouquet Sonnet Valentine Balcony Summer Courtship "
    "Embrace Postcard Rose",
    "Crime": "Alibi Heist Informant Verdict Syndicate Getaway Ledger Witness "
    "Forger Fingerprint",
    "Adventure": "Voyage Expedition Jungle Compass Treasure Summit Caravan "
    "Island Map River",
    "Sci-Fi": "Android Nebula Orbit Colony Starship Singularity Reactor "
    "Clone Signal Horizon",
    "Mystery": "Cipher Manor Disappearance Clue Locket Corridor Stranger "
    "Riddle Conservatory Silhouette",
    "Horror": "Cellar Whisper Graveyard Mirror Possession Asylum Scarecrow "
    "Haunting Ritual Marsh",
    "Fantasy": "Sorcerer Crown Griffin Prophecy Realm Enchantress Amulet "
    "Throne Wyrm Oracle",
    "Animation": "Rabbit Balloon Toymaker Penguin Teapot Moonbeam Puddle "
    "Dragonfly Button Acorn",
    "Musical": "Melody Chorus Ballroom Cabaret Violin Overture Tapdancer "
    "Serenade Jukebox Waltz",
    "Western": "Saddle Sheriff Canyon Outlaw Stagecoach Mustang Saloon "
    "Prairie Revolver Homestead",
}
ADJECTIVES = (
    "Silent Crimson Last Broken Hidden Golden Midnight Forgotten Endless "
    "Restless Borrowed Distant Velvet Frozen Secret Wandering Bitter Lonely "
    "Electric Painted Reluctant Burning Second Crooked Hollow Gentle Stolen "
    "Unlikely Scarlet Paper"
).split()
PLACES = (
    "Lisbon Marseille Harlem Kyoto Dublin Havana Vienna Cairo Oslo Naples "
    "Bristol Odessa Tangier Quebec Goa Reykjavik"
).split()
NUMERALS = ("", " II", " III", " IV")

# The sequel first, then four neighbours: films people see after one another.
FOLLOW_WEIGHTS = (0.60, 0.16, 0.12, 0.08, 0.04)
# In how many directions films differ, and how far the word of its title and
# what is its own take a film from its genres, which are about 1 long.
WIDTH = 16
WORD = 0.9
OWN = 0.8


@dataclass(frozen=True)
class Catalogue:
    """Films with everything that drives their choice.

    Attributes:
        titles: Text `[num_items]`.
        genres: Indices into `GENRES`, -1 for none `[num_items, 2]`.
        years: int64 `[num_items]`.
        popularity: Sums to 1 `[num_items]`.
        release_days: Since the start of the period; negative for films that
            were there before `[num_items]`.
        followers: Rows of the sequel and the neighbours, -1 for none
            `[num_items, 5]`.
        likeness: What films are like, of length 1 `[num_items, WIDTH]`.
        genre_likeness: The same of the genres `[num_genres, WIDTH]`.
    """

    titles: list[str]
    genres: np.ndarray
    years: np.ndarray
    popularity: np.ndarray
    release_days: np.ndarray
    followers: np.ndarray
    likeness: np.ndarray
    genre_likeness: np.ndarray

    def genre_names(self) -> list[list[str]]:
        """Names of the genres of each film."""
        names = list(GENRES)
        return [[names[g] for g in row if g >= 0] for row in self.genres]


def make(num_items: int, seed: int, planted: bool) -> Catalogue:
    """Draws a catalogue; what is not planted is unrelated to any choice."""
    rng = np.random.default_rng([seed, 0])
    num_genres = len(GENRES)
    genres = rng.choice(num_genres, (num_items, 2), p=genre_shares())
    one = (rng.random(num_items) < 0.4) | (genres[:, 0] == genres[:, 1])
    genres[one, 1] = -1
    years = rng.integers(1955, 2019, num_items)
    release_days = np.full(num_items, -1000.0)
    new = rng.random(num_items) < 0.25
    release_days[new] = rng.uniform(0.0, 500.0, new.sum())
    years[new] = 2020 + (release_days[new] // 365).astype(int)
    popularity = 1.0 / (rng.permutation(num_items) + 40.0)
    part, series = _series(num_items, rng)
    followers = np.full((num_items, len(FOLLOW_WEIGHTS)), -1)
    for members in series:
        first = members[0]
        for before, after in zip(members, members[1:], strict=False):
            followers[before, 0] = after
            genres[after] = genres[first]
            years[after] = min(years[before] + rng.integers(2, 5), 2021)
            release_days[after] = max(release_days[after], release_days[before])
    for row in range(num_items):
        alike = np.flatnonzero(genres[:, 0] == genres[row, 0])
        alike = alike[(alike != row) & (alike != followers[row, 0])]
        count = min(len(alike), followers.shape[1] - 1)
        followers[row, 1 : 1 + count] = rng.choice(alike, count, replace=False)
    titles, words = _titles(genres, part, series, rng)
    likeness, genre_likeness = _likeness(genres, words, rng)
    if not planted:
        popularity = np.ones(num_items)
        release_days[:] = -1000.0
    return Catalogue(
        titles=titles,
        genres=genres,
        years=years,
        popularity=popularity / popularity.sum(),
        release_days=release_days,
        followers=followers,
        likeness=likeness,
        genre_likeness=genre_likeness,
    )


def genre_shares() -> np.ndarray:
    """How often each genre is drawn `[num_genres]`."""
    weights = 1.0 / (np.arange(len(GENRES)) + 2.0)
    return weights / weights.sum()


def _likeness(
    genres: np.ndarray, words: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Directions of the films and of the genres."""
    of_genres = unit(rng.normal(size=(len(GENRES), WIDTH)))
    of_words = unit(rng.normal(size=(words.max() + 1, WIDTH)))
    own = unit(rng.normal(size=(len(genres), WIDTH)))
    has = (genres >= 0)[:, :, None]
    mean = (of_genres[genres] * has).sum(1) / has.sum(1)
    return unit(mean + WORD * of_words[words] + OWN * own), of_genres


def unit(vectors: np.ndarray) -> np.ndarray:
    """The same directions with length 1 `[..., WIDTH]`."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _series(
    num_items: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Which films are parts of series, by position in them."""
    part = np.zeros(num_items, np.int64)
    rows = rng.permutation(num_items)[: num_items * 3 // 8]
    series = []
    while len(rows) >= 2:
        length = min(int(rng.integers(2, len(NUMERALS) + 1)), len(rows))
        members, rows = rows[:length], rows[length:]
        part[members] = np.arange(length)
        series.append(members)
    return part, series


def _titles(
    genres: np.ndarray,
    part: np.ndarray,
    series: list[np.ndarray],
    rng: np.random.Generator,
) -> tuple[list[str], np.ndarray]:
    """Titles, and which word of all genres' words each is made of."""
    nouns = [text.split() for text in GENRES.values()]
    titles, words = [""] * len(genres), np.zeros(len(genres), np.int64)
    used: set[str] = set()
    for row, first in enumerate(genres[:, 0]):
        title, word = _title(nouns[first], rng)
        while title in used:
            title, word = _title(nouns[first], rng)
            if title in used and len(used) > 2000:
                # Far beyond the words: take numbers to keep titles apart.
                title = f"{title} {row}"
        used.add(title)
        titles[row], words[row] = title, first * len(nouns[first]) + word
    for members in series:
        words[members] = words[members[0]]
        for row in members:
            titles[row] = titles[members[0]] + NUMERALS[part[row]]
    return titles, words


def _title(nouns: list[str], rng: np.random.Generator) -> tuple[str, int]:
    word = int(rng.integers(len(nouns)))
    noun = nouns[word]
    adjective = str(rng.choice(ADJECTIVES))
    place = str(rng.choice(PLACES))
    article = "An" if noun[0] in "AEIOU" else "A"
    other = nouns[(word + int(rng.integers(1, len(nouns)))) % len(nouns)]
    patterns = (
        f"The {adjective} {noun}",
        f"{adjective} {noun}",
        f"The {noun} of {place}",
        f"{article} {noun} in {place}",
        f"{noun} and {other}",
    )
    return patterns[rng.integers(len(patterns))], word
