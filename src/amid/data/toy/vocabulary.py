"""The closed vocabularies of the toy corpus.

Every noun that follows "a" starts with a consonant sound, so that no template has to choose between "a" and "an".
"""

from typing import Final, NamedTuple


class Animal(NamedTuple):
    """One animal with the facts the corpus tells about it."""

    one: str
    many: str
    home: str
    food: str


class Job(NamedTuple):
    """One job: what the person does, in the third person and as a bare verb, and where."""

    title: str
    does: str
    do: str
    where: str


class Verb(NamedTuple):
    """Three forms of one transitive verb; the past is also the participle."""

    present: str
    past: str
    bare: str


class Weather(NamedTuple):
    """One kind of weather and the two things to take along."""

    now: str
    first: str
    second: str


class Trip(NamedTuple):
    """One destination, two things to pack and one thing to do there."""

    to: str
    first: str
    second: str
    activity: str


PEOPLE: Final = (
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Grace",
    "Henry",
    "Ida",
    "Jonas",
    "Kate",
    "Leo",
    "Maria",
    "Noah",
    "Olga",
    "Paul",
    "Rosa",
    "Simon",
    "Tara",
    "Victor",
)
TOWNS: Final = ("Oakham", "Milton", "Seaford", "Ashby", "Whitby", "Dover", "Kelso", "Ripley", "Hadley", "Marlow")
PLACES: Final = ("park", "library", "market", "museum", "harbor", "school", "garden", "station", "theater", "lake")
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FOODS: Final = ("bread", "cheese", "soup", "salad", "cake", "fruit", "tea", "rice")
MEALS: Final = ("breakfast", "lunch", "dinner", "supper")
COLORS: Final = ("red", "blue", "green", "yellow", "white", "black")
GIFTS: Final = ("scarf", "hat", "kite", "lamp", "vase", "cup", "bag", "ball")
COUNTED: Final = ("apples", "pens", "books", "coins", "shells", "cards", "stamps", "plums", "buttons", "pears")
BOXES: Final = ("boxes", "bags", "baskets", "jars")
VEGETABLES: Final = ("carrot", "tomato", "potato", "cabbage", "pumpkin", "leek")
HOBBIES: Final = ("swimming", "painting", "singing", "dancing", "reading", "cooking", "cycling", "chess")

CAPITALS: Final = (
    ("France", "Paris"),
    ("Italy", "Rome"),
    ("Spain", "Madrid"),
    ("Japan", "Tokyo"),
    ("Egypt", "Cairo"),
    ("Norway", "Oslo"),
    ("Greece", "Athens"),
    ("Austria", "Vienna"),
    ("Poland", "Warsaw"),
    ("Portugal", "Lisbon"),
    ("Ireland", "Dublin"),
    ("Cuba", "Havana"),
    ("Peru", "Lima"),
    ("Kenya", "Nairobi"),
    ("Canada", "Ottawa"),
    ("Finland", "Helsinki"),
)

# In order of size, smallest first: the comparison families read it off the position.
ANIMALS: Final = (
    Animal("mouse", "mice", "fields", "seeds"),
    Animal("frog", "frogs", "ponds", "insects"),
    Animal("pigeon", "pigeons", "cities", "crumbs"),
    Animal("rabbit", "rabbits", "meadows", "clover"),
    Animal("fox", "foxes", "forests", "berries"),
    Animal("sheep", "sheep", "pastures", "grass"),
    Animal("lion", "lions", "savannas", "meat"),
    Animal("bear", "bears", "mountains", "honey"),
    Animal("horse", "horses", "stables", "hay"),
    Animal("giraffe", "giraffes", "plains", "leaves"),
    Animal("whale", "whales", "oceans", "plankton"),
)

JOBS: Final = (
    Job("baker", "bakes bread", "bake bread", "in a bakery"),
    Job("farmer", "grows vegetables", "grow vegetables", "on a farm"),
    Job("teacher", "teaches children", "teach children", "in a school"),
    Job("doctor", "treats patients", "treat patients", "in a clinic"),
    Job("sailor", "steers ships", "steer ships", "on the sea"),
    Job("gardener", "plants flowers", "plant flowers", "in a garden"),
    Job("carpenter", "builds tables", "build tables", "in a workshop"),
    Job("tailor", "sews clothes", "sew clothes", "in a shop"),
    Job("painter", "paints pictures", "paint pictures", "in a studio"),
    Job("cook", "prepares meals", "prepare meals", "in a kitchen"),
)

VERBS: Final = (
    Verb("cleans", "cleaned", "clean"),
    Verb("paints", "painted", "paint"),
    Verb("opens", "opened", "open"),
    Verb("repairs", "repaired", "repair"),
    Verb("washes", "washed", "wash"),
    Verb("carries", "carried", "carry"),
    Verb("finds", "found", "find"),
    Verb("holds", "held", "hold"),
)
OBJECTS: Final = ("basket", "window", "bicycle", "table", "drum", "clock", "mirror", "box", "chair", "bottle")

OPPOSITES: Final = (
    ("old", "new"),
    ("cold", "warm"),
    ("big", "small"),
    ("dark", "bright"),
    ("slow", "fast"),
    ("loud", "quiet"),
    ("wet", "dry"),
    ("heavy", "light"),
)

WEATHER: Final = (
    Weather("raining", "a coat", "boots"),
    Weather("snowing", "gloves", "a scarf"),
    Weather("sunny", "a hat", "sandals"),
    Weather("windy", "a jacket", "a cap"),
)

TRIPS: Final = (
    Trip("the beach", "a towel", "a ball", "swim in the sea"),
    Trip("the mountains", "warm socks", "strong boots", "climb a hill"),
    Trip("the forest", "a map", "a compass", "look for mushrooms"),
    Trip("the river", "a net", "a fishing rod", "watch the boats"),
    Trip("the desert", "plenty of water", "a large hat", "ride a camel"),
    Trip("the city", "a camera", "a guidebook", "visit a museum"),
)

GOOD_REVIEWS: Final = ("fresh", "tasty", "lovely", "friendly", "cosy")
BAD_REVIEWS: Final = ("stale", "bland", "dull", "noisy", "messy")
REVIEWED: Final = ("soup", "room", "music", "garden", "service", "cake", "show", "salad")

# Lumi, a language of our own: verb first, adjective after its noun, no articles.
LUMI_NOUNS: Final = {
    "cat": "mira",
    "dog": "doru",
    "bird": "tipi",
    "child": "nalo",
    "king": "reku",
    "queen": "sela",
    "boat": "sulo",
    "tree": "boska",
    "flower": "fiya",
    "river": "vodu",
}
LUMI_ADJECTIVES: Final = {
    "red": "ruba",
    "small": "piku",
    "old": "vetu",
    "young": "juna",
    "happy": "lika",
    "white": "alba",
}
LUMI_VERBS: Final = {
    "sees": "vidi",
    "likes": "amo",
    "finds": "trova",
    "follows": "segu",
    "hears": "odi",
    "helps": "juto",
}
