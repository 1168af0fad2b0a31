"""What signs say. They are read letter by letter, so that a new word is read too."""

SIGN_WORDS = (
    "STOP", "OPEN", "EXIT", "CAFE", "HELLO", "TAXI", "PARK", "SHOP", "HOTEL", "BANK", "ZOO", "BUS",
    "FOOD", "MILK", "BREAD", "PIZZA", "FISH", "FRESH", "SALE", "FREE", "PUSH", "PULL", "UP",
    "DOWN", "LEFT", "RIGHT", "NORTH", "SOUTH", "EAST", "WEST", "ROAD", "BEACH", "LAKE", "HILL",
    "FARM", "BARN", "TRAIN", "PORT", "SHIP", "BOAT", "CAR", "BIKE", "WALK", "SLOW", "FAST", "WAIT",
    "GO", "NO", "YES", "OK", "IN", "OUT", "ON", "OFF", "HOT", "COLD", "ICE", "WATER", "FIRE",
    "SAFE", "KEEP", "QUIET", "MUSIC", "DANCE", "PLAY", "GAME", "TOY", "BOOK", "ART", "FILM",
    "KING", "QUEEN", "JAZZ", "ROCK", "LOVE", "LIFE", "HOME", "HOUSE", "ROOM", "DESK", "DOOR",
    "GATE", "BELL", "CLUB", "BAR", "PUB", "INN", "TEA", "JUICE", "SOUP", "CAKE", "PIE", "NUT",
    "EGG", "APPLE", "LEMON", "PLUM", "FIG", "GRAPE", "MELON", "CORN", "RICE", "BEAN", "SALT",
    "SUGAR", "HONEY", "CLOCK", "WATCH", "RING", "SHOE", "HAT", "COAT", "SOCK", "WOOL", "SILK",
    "GOLD", "IRON", "WOOD", "STONE", "BRICK", "GLASS", "PAPER", "BOX", "JAR", "KEY", "MAP", "VAN",
    "JET", "SKY", "MOON", "STAR", "SUN", "RAIN", "SNOW", "WIND", "STORM", "FOG", "DUCK", "GOOSE",
    "FOX", "WOLF", "BEAR", "LION", "TIGER", "ZEBRA", "HORSE", "DOG", "CAT", "COW", "PIG", "OWL",
    "BEE", "ANT", "QUIZ", "XRAY", "VOTE", "JUMP",
)  # fmt: skip

# Never put up in training: whether the model reads, or knows its words by sight.
UNSEEN_SIGN_WORDS = ("TOWER", "BEND", "QUAY", "VIEW", "KIOSK", "JOB", "EXTRA", "WHARF")
