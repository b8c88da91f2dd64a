"""The catalogue of the embedded sample: films that do not exist.

Titles are made of word lists that go with the genre, so that a person can
tell from a list of titles whether a recommendation is sensible. About a third
of the films belong to series; the parts of a series carry numbers.
"""

from dataclasses import dataclass

import numpy as np

REGIONS = ("north", "east", "south", "west", "overseas")
GENRES = {
    "Adventure": "Voyage Expedition Jungle Compass Treasure Summit Caravan "
    "Island Map River",
    "Animation": "Rabbit Balloon Toymaker Penguin Teapot Moonbeam Puddle "
    "Dragonfly Button Acorn",
    "Comedy": "Wedding Neighbour Holiday Landlord Cousin Casserole Impostor "
    "Bachelor Reunion Moustache",
    "Crime": "Alibi Heist Informant Verdict Syndicate Getaway Ledger Witness "
    "Forger Fingerprint",
    "Drama": "Orchard Letter Daughter Winter Confession Farewell Piano "
    "Inheritance Promise Lighthouse",
    "Fantasy": "Sorcerer Crown Griffin Prophecy Realm Enchantress Amulet "
    "Throne Wyrm Oracle",
    "Horror": "Cellar Whisper Graveyard Mirror Possession Asylum Scarecrow "
    "Haunting Ritual Marsh",
    "Musical": "Melody Chorus Ballroom Cabaret Violin Overture Tapdancer "
    "Serenade Jukebox Waltz",
    "Mystery": "Cipher Manor Disappearance Clue Locket Corridor Stranger "
    "Riddle Conservatory Silhouette",
    "Romance": "Kiss Bouquet Sonnet Valentine Balcony Summer Courtship "
    "Embrace Postcard Rose",
    "Sci-Fi": "Android Nebula Orbit Colony Starship Singularity Reactor "
    "Clone Signal Horizon",
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
        genre_weights: 1 for a film's only genre, .5 each for two
            `[num_items, num_genres]`.
    """

    titles: list[str]
    genres: np.ndarray
    years: np.ndarray
    popularity: np.ndarray
    release_days: np.ndarray
    followers: np.ndarray
    genre_weights: np.ndarray

    def genre_names(self) -> list[list[str]]:
        """Names of the genres of each film."""
        names = list(GENRES)
        return [[names[g] for g in row if g >= 0] for row in self.genres]


def make(num_items: int, seed: int, planted: bool) -> Catalogue:
    """Draws a catalogue; what is not planted is unrelated to any choice."""
    rng = np.random.default_rng([seed, 0])
    num_genres = len(GENRES)
    genres = np.full((num_items, 2), -1)
    genres[:, 0] = rng.integers(0, num_genres, num_items)
    two = rng.random(num_items) < 0.5
    genres[two, 1] = (
        genres[two, 0] + rng.integers(1, num_genres, two.sum())
    ) % num_genres
    years = rng.integers(1955, 2019, num_items)
    release_days = np.full(num_items, -1000.0)
    new = rng.random(num_items) < 0.25
    release_days[new] = rng.uniform(0.0, 500.0, new.sum())
    years[new] = 2020 + (release_days[new] // 365).astype(int)
    popularity = 1.0 / (rng.permutation(num_items) + 15.0) ** 0.9
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
    weights = np.zeros((num_items, num_genres))
    for column in (0, 1):
        has = genres[:, column] >= 0
        weights[np.flatnonzero(has), genres[has, column]] = 1.0
    weights /= weights.sum(1, keepdims=True)
    if not planted:
        popularity = np.ones(num_items)
        release_days[:] = -1000.0
    return Catalogue(
        titles=_titles(genres, part, series, rng),
        genres=genres,
        years=years,
        popularity=popularity / popularity.sum(),
        release_days=release_days,
        followers=followers,
        genre_weights=weights,
    )


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
) -> list[str]:
    words = [text.split() for text in GENRES.values()]
    titles = [""] * len(genres)
    used: set[str] = set()
    for row in range(len(genres)):
        title = _title(words[genres[row, 0]], rng)
        while title in used:
            title = _title(words[genres[row, 0]], rng)
            if title in used and len(used) > 2000:
                # Far beyond the words: take numbers to keep titles apart.
                title = f"{title} {row}"
        used.add(title)
        titles[row] = title
    for members in series:
        for row in members:
            titles[row] = titles[members[0]] + NUMERALS[part[row]]
    return titles


def _title(nouns: list[str], rng: np.random.Generator) -> str:
    noun = str(rng.choice(nouns))
    adjective = str(rng.choice(ADJECTIVES))
    pattern = rng.integers(0, 5)
    if pattern == 0:
        return f"The {adjective} {noun}"
    if pattern == 1:
        return f"{adjective} {noun}"
    if pattern == 2:
        return f"The {noun} of {rng.choice(PLACES)}"
    if pattern == 3:
        article = "An" if noun[0] in "AEIOU" else "A"
        return f"{article} {noun} in {rng.choice(PLACES)}"
    return f"{noun} and {rng.choice([n for n in nouns if n != noun])}"
