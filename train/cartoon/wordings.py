"""The texts of the picture world: how a question may be worded, and small talk.

Every question has at least eight wordings. The last two of each are held out: never used in
training, used to measure whether free wording is understood.
"""

HELD_OUT_WORDINGS = 2

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")

# What the background is called, and the words its slot in a language model's prompt is made of.
BACKGROUND_PHRASES = {
    "white": "a plain white background",
    "cream": "a plain cream background",
    "gray": "a plain gray background",
    "field": "a green field under a blue sky",
    "beach": "a sandy beach by the sea",
    "night": "a dark night sky",
    "room": "a room with a wooden floor",
    "sea": "the open sea under the sky",
}

PLACE_PHRASES = {
    "top left": "in the top left",
    "top": "at the top",
    "top right": "in the top right",
    "left": "on the left",
    "center": "in the center",
    "right": "on the right",
    "bottom left": "in the bottom left",
    "bottom": "at the bottom",
    "bottom right": "in the bottom right",
}

# Things the world has no drawing of: a question about them is always answered "no".
FOREIGN_KINDS = (
    "dog", "person", "chair", "train", "plane", "horse", "book", "cake", "ball", "bicycle",
    "robot", "table", "hat", "shoe", "banana", "clock", "lamp", "bridge", "mountain", "phone",
)  # fmt: skip

QUESTIONS: dict[str, tuple[str, ...]] = {
    "color": (
        "What color is the {kind}?",
        "What is the color of the {kind}?",
        "Which color does the {kind} have?",
        "What colour is the {kind}?",
        "Tell me the color of the {kind}.",
        "The {kind} is which color?",
        "Can you tell me what color the {kind} is?",
        "What is the {kind}'s color?",
    ),
    "size": (
        "How big is the {kind}?",
        "What size is the {kind}?",
        "Is the {kind} small, medium or large?",
        "What is the size of the {kind}?",
        "Tell me the size of the {kind}.",
        "Is the {kind} small or large?",
        "How large is the {kind}?",
        "Which size does the {kind} have?",
    ),
    "where": (
        "Where is the {kind}?",
        "In which part of the picture is the {kind}?",
        "Where can I find the {kind}?",
        "Where do you see the {kind}?",
        "Tell me where the {kind} is.",
        "What is the position of the {kind}?",
        "In what part of the image is the {kind}?",
        "Can you tell me where the {kind} is?",
    ),
    "exists": (
        "Is there {a_kind}?",
        "Is there {a_kind} in the picture?",
        "Do you see {a_kind}?",
        "Can you see {a_kind} in the image?",
        "Does the picture show {a_kind}?",
        "Is there any {kind} here?",
        "Are there any {kinds}?",
        "Do you see {a_kind} in this picture?",
    ),
    "exists_color": (
        "Is there {a_color} {kind}?",
        "Is there {a_color} {kind} in the picture?",
        "Do you see {a_color} {kind}?",
        "Can you see {a_color} {kind} in the image?",
        "Does the picture show {a_color} {kind}?",
        "Is there any {color} {kind} here?",
        "Are there any {color} {kinds}?",
        "Do you see {a_color} {kind} in this picture?",
    ),
    "count": (
        "How many {kinds} are there?",
        "How many {kinds} are in the picture?",
        "How many {kinds} do you see?",
        "Count the {kinds}.",
        "What is the number of {kinds}?",
        "How many {kinds} can you see?",
        "How many {kinds} does the image show?",
        "Tell me how many {kinds} there are.",
    ),
    "count_color": (
        "How many {color} things are there?",
        "How many {color} objects are in the picture?",
        "How many {color} things do you see?",
        "Count the {color} objects.",
        "What is the number of {color} things?",
        "How many {color} objects can you see?",
        "How many {color} things does the image show?",
        "Tell me how many {color} objects there are.",
    ),
    "total": (
        "How many objects are there?",
        "How many objects are in the picture?",
        "How many things do you see?",
        "Count the objects.",
        "How many things are there in total?",
        "What is the number of objects?",
        "How many things does the image show?",
        "Tell me how many objects there are.",
    ),
    "background": (
        "What is in the background?",
        "What is the background?",
        "Where does this scene take place?",
        "What does the background look like?",
        "Describe the background.",
        "What is behind the objects?",
        "Tell me about the background.",
        "What background does the picture have?",
    ),
    "sign": (
        "What does the sign say?",
        "What is written on the sign?",
        "Read the sign.",
        "Which word is on the sign?",
        "What word is on the sign?",
        "What can you read on the sign?",
        "What is the word on the sign?",
        "Can you read the sign?",
    ),
    "at_place": (
        "What is {place}?",
        "What do you see {place}?",
        "Which object is {place}?",
        "What is shown {place}?",
        "What can you see {place}?",
        "Tell me what is {place}.",
        "What is there {place}?",
        "Which thing is {place}?",
    ),
    "relation": (
        "Where is the {kind} compared to the {other}?",
        "Where is the {kind} relative to the {other}?",
        "Where is the {kind} as seen from the {other}?",
        "What is the position of the {kind} relative to the {other}?",
        "How is the {kind} placed compared to the {other}?",
        "Tell me where the {kind} is compared to the {other}.",
        "Where is the {kind} with respect to the {other}?",
        "Seen from the {other}, where is the {kind}?",
    ),
    "relation_yes": (
        "Is the {kind} {relation} the {other}?",
        "Is the {kind} placed {relation} the {other}?",
        "Do you see the {kind} {relation} the {other}?",
        "Is the {kind} {relation} the {other} in the picture?",
        "Would you say the {kind} is {relation} the {other}?",
        "Tell me whether the {kind} is {relation} the {other}.",
        "Can you see the {kind} {relation} the {other}?",
        "Does the {kind} stand {relation} the {other}?",
    ),
    "compare": (
        "Are there more {kinds} than {others}?",
        "Do you see more {kinds} than {others}?",
        "Are there more {kinds} than {others} in the picture?",
        "Does the picture show more {kinds} than {others}?",
        "Is the number of {kinds} higher than the number of {others}?",
        "Can you see more {kinds} than {others}?",
        "Tell me whether there are more {kinds} than {others}.",
        "Does the image have more {kinds} than {others}?",
    ),
    "is_color": (
        "Is the {kind} {color}?",
        "Does the {kind} have the color {color}?",
        "Is the color of the {kind} {color}?",
        "Do you see that the {kind} is {color}?",
        "Is the {kind} in the picture {color}?",
        "Would you say the {kind} is {color}?",
        "Is it true that the {kind} is {color}?",
        "Tell me whether the {kind} is {color}.",
    ),
    "list": (
        "What objects are in the picture?",
        "Which things do you see?",
        "List the objects.",
        "Which objects can you see?",
        "What things are there?",
        "Name the things in the picture.",
        "List everything in the image.",
        "Which objects does the picture show?",
    ),
    "odd": (
        "What is odd in this picture?",
        "Is anything strange in the picture?",
        "What is unusual about this picture?",
        "Do you notice anything odd?",
        "What does not belong here?",
        "Is there something wrong in this picture?",
        "What is strange about this image?",
        "Does anything look unusual?",
    ),
    "poem": (
        "Write a poem about this picture.",
        "Write a short poem about the picture.",
        "Can you write a poem about it?",
        "Make a poem about this image.",
        "Please write me a poem about what you see.",
        "Turn this picture into a poem.",
        "Write a poem about the image.",
        "Compose a poem about this picture.",
    ),
    "advertisement": (
        "Write an advertisement for what you see.",
        "Write an advertisement for the product in the picture.",
        "Make an advertisement for this.",
        "Can you write an ad for the product?",
        "Write an ad for this picture.",
        "Help me sell what is in the picture.",
        "Write an advertisement about it.",
        "Draft an ad for what the picture shows.",
    ),
    "recipe": (
        "How do I cook what you see?",
        "Give me a recipe for the food in the picture.",
        "Write a recipe for this.",
        "How can I make this food?",
        "What can I cook with this?",
        "Tell me how to prepare this food.",
        "Can you give me a recipe for it?",
        "How should I prepare the food in the picture?",
    ),
    "webpage": (
        "Turn this sketch into a web page.",
        "Write the HTML for this page.",
        "Write the code of this website.",
        "Make a website from this sketch.",
        "Can you write the HTML of this page?",
        "Write a web page that looks like this.",
        "Turn this drawing into HTML.",
        "Please write the code for this web page.",
    ),
}

# Follow-ups that mean the thing of the turn before.
PRONOUN_QUESTIONS: dict[str, tuple[str, ...]] = {
    "color": (
        "What color is it?",
        "And what color is it?",
        "What colour is it?",
        "Which color does it have?",
        "What is its color?",
        "And its color?",
        "Which color is it?",
        "Tell me its color.",
    ),
    "size": (
        "How big is it?",
        "Is it small, medium or large?",
        "What size is it?",
        "And how big is it?",
        "Is it small or large?",
        "What is its size?",
        "And its size?",
        "How large is it?",
    ),
    "where": (
        "Where is it?",
        "And where is it?",
        "Where can I find it?",
        "In which part of the picture is it?",
        "Where do you see it?",
        "What is its position?",
        "In what part of the image is it?",
        "Tell me where it is.",
    ),
}

DESCRIBE_INSTRUCTIONS = (
    "Describe this image in detail.",
    "Take a look at this image and describe what you notice.",
    "Please provide a detailed description of the picture.",
    "Could you describe the contents of this image for me?",
    "Describe the picture.",
    "What do you see?",
    "What is in this picture?",
    "Tell me about this picture.",
    "What is this?",
    "What does the image show?",
)

SMALL_TALK = (
    ("Hello!", "Hello! Ask me about the picture."),
    ("Hi", "Hello! Ask me about the picture."),
    ("Hello, how are you?", "Hello! Ask me about the picture."),
    ("Thanks!", "You are welcome."),
    ("Thank you.", "You are welcome."),
    ("Thank you very much!", "You are welcome."),
    ("Who are you?", "I am a tiny model. I only know simple drawings."),
    ("What are you?", "I am a tiny model. I only know simple drawings."),
    ("What can you do?", "I am a tiny model. I only know simple drawings."),
    ("Goodbye.", "Goodbye!"),
    ("Bye!", "Goodbye!"),
)

# The answer to whatever is asked about a picture that is no drawing of this world.
NO_DRAWING = "I only know simple drawings, and this does not look like one to me."

# The answer to whatever else is asked about a page sketch.
PAGE_SKETCH = "This is a sketch of a web page. Ask me to write it."

BEYOND_ME = "I am a tiny model and can't do that. Ask me about colors, sizes, places or numbers."
BEYOND_ME_QUESTIONS = (
    "Sing a song.",
    "Tell me a story.",
    "What is the capital of France?",
    "Who is the president?",
    "What is two plus two?",
    "Write some code for me.",
    "What is the weather like today?",
    "Tell me a joke.",
    "Who won the game?",
    "Translate this into French.",
    "What time is it?",
    "Why is the sky blue?",
    "Who painted this picture?",
    "What is your favorite food?",
    "Give me some advice.",
    "Play some music.",
)

NO_PICTURE = "I can't see a picture yet. Please attach one."
