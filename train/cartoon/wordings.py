"""The sentences of the synthetic world: how a question may be worded, and small talk.

Every question has at least six wordings. The last two of each are held out: never used in training,
used to measure whether free wording is understood.
"""

HELD_OUT_WORDINGS = 2

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# What the background is called, and the words its slot in a language model's prompt is made of.
BACKGROUND_PHRASES = {
    "white": "a plain white background",
    "cream": "a plain cream background",
    "gray": "a plain gray background",
    "field": "a green field under a blue sky",
    "beach": "a sandy beach by the sea",
    "night": "a dark night sky",
    "room": "a room with a wooden floor",
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
    "dog", "cat", "bird", "person", "apple", "cup", "chair", "train", "plane", "horse", "book",
    "cake", "ball", "bicycle", "umbrella", "robot",
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
        "Is the {kind} small or large?",
        "What is the size of the {kind}?",
        "Tell me the size of the {kind}.",
        "Is the {kind} large or small?",
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
        "Is it small or large?",
        "What size is it?",
        "And how big is it?",
        "Is it large or small?",
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

BEYOND_ME = "I am a tiny model and can't do that. Ask me about colors, sizes, places or numbers."
BEYOND_ME_QUESTIONS = (
    "Write a poem about it.",
    "Tell me a story.",
    "What is the capital of France?",
    "Who is the president?",
    "What is two plus two?",
    "Write some code for me.",
    "What is the weather like today?",
    "Tell me a joke.",
    "How do I cook rice?",
    "Translate this into French.",
    "What time is it?",
    "Why is the sky blue?",
    "Who painted this picture?",
    "What is your favorite food?",
    "Give me some advice.",
    "Play some music.",
)

NO_PICTURE = "I can't see a picture yet. Please attach one."
