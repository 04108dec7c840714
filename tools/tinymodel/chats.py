"""chats.py - the small-talk grammar: conversations in several turns.

make_chat(rng) returns a list of (role, text). A conversation is a chain of
topics; each topic adds one or more user/assistant pairs and may read or write
what the talk knows so far (the user's name, the last story ...).
"""
import random
from grammar import expand
from stories import ANIMALS, BOYS, COLORS, GIRLS, PETS_F, PETS_M, PLOTS, make_story

NUMBERS = "zero one two three four five six seven eight nine ten".split()
FOODS = "apples bananas bread cake cheese carrots honey soup rice pizza cookies berries pancakes fish".split()
MORE_NAMES = "Alice Bob Peter John Mary David Kate Paul".split()

SYSTEM = ["You are a helpful assistant.", "You are a friendly assistant.", "You are a helpful, kind assistant.",
          "You are a tiny model. Be kind.", "You are a storyteller.", "Answer in short sentences.", "Be brief.",
          "You are nanovllm.", "You are a helpful AI assistant. Answer the questions of the user.",
          "You are a chatbot.", "Be polite and helpful.", "You are an assistant who likes to tell stories.",
          "You are a helpful assistant. Keep your answers short."]

JOKES = [
    ("Why did the cookie go to the doctor?", "Because it felt crumby!"),
    ("What do you call a bear with no teeth?", "A gummy bear!"),
    ("Why did the student eat his homework?", "Because the teacher said it was a piece of cake!"),
    ("What is a cat's favorite color?", "Purr-ple!"),
    ("Why do bees have sticky hair?", "Because they use honeycombs!"),
    ("What do you call a sleeping bull?", "A bulldozer!"),
    ("Why did the banana go to the doctor?", "Because it was not peeling well!"),
    ("What has ears but can not hear?", "A field of corn!"),
    ("Why can you not tell an egg a joke? ", "Because it might crack up!"),
    ("Where do fish keep their money?", "In the river bank!"),
    ("Why did the computer go to the doctor?", "Because it had a virus!"),
    ("What do you call a fish without an eye?", "A fsh!"),
    ("How do you make a tissue dance?", "You put a little boogie in it!"),
    ("Why was six afraid of seven?", "Because seven ate nine!"),
]
RIDDLES = [
    ("What has hands but can not clap?", "A clock"), ("What gets wetter the more it dries?", "A towel"),
    ("What has a neck but no head?", "A bottle"), ("What has teeth but can not bite?", "A comb"),
    ("What goes up but never comes down?", "Your age"), ("What has legs but can not walk?", "A table"),
    ("What can you catch but not throw?", "A cold"), ("What is full of holes but holds water?", "A sponge"),
]
SOUNDS = {"cow": "moo", "dog": "woof", "cat": "meow", "duck": "quack", "pig": "oink", "sheep": "baa", "lion": "roar",
          "mouse": "squeak", "bee": "buzz", "owl": "hoot", "frog": "ribbit", "horse": "neigh", "bird": "tweet", "snake": "hiss"}
THING_COLORS = {"the sky": "blue", "grass": "green", "snow": "white", "the sun": "yellow", "a banana": "yellow", "a lemon": "yellow",
                "an orange": "orange", "a carrot": "orange", "a strawberry": "red", "a tomato": "red", "milk": "white",
                "the night": "black", "chocolate": "brown", "a frog": "green", "a pig": "pink", "an elephant": "gray", "the sea": "blue",
                "a leaf": "green", "blood": "red", "coal": "black", "a swan": "white"}
OPPOSITES = [("big", "small"), ("hot", "cold"), ("fast", "slow"), ("happy", "sad"), ("up", "down"), ("day", "night"), ("good", "bad"),
             ("old", "young"), ("wet", "dry"), ("light", "dark"), ("open", "closed"), ("long", "short"), ("loud", "quiet"), ("full", "empty"),
             ("hard", "soft"), ("left", "right"), ("in", "out"), ("first", "last"), ("high", "low"), ("yes", "no")]
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
CAPITALS = {"France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "England": "London", "Japan": "Tokyo",
            "China": "Beijing", "Russia": "Moscow", "Egypt": "Cairo", "Greece": "Athens", "Portugal": "Lisbon", "Austria": "Vienna",
            "Poland": "Warsaw", "Norway": "Oslo", "Sweden": "Stockholm", "Ireland": "Dublin", "Canada": "Ottawa", "India": "New Delhi",
            "the United States": "Washington"}
CAN = {"a fish": ("swim", "fly"), "a bird": ("fly", "talk"), "a penguin": ("swim", "fly"), "a dog": ("run", "fly"), "a cat": ("climb", "fly"),
       "a duck": ("swim", "read"), "a frog": ("jump", "fly"), "a monkey": ("climb", "fly"), "a snail": ("crawl", "run"),
       "an elephant": ("swim", "jump"), "a bee": ("fly", "swim"), "a horse": ("run", "climb trees")}
FACTS = {
    "cat": "A cat is a small, soft animal. It likes to sleep, to play, and to catch mice.",
    "dog": "A dog is a friendly animal. It likes to run and to play, and it is a good friend of people.",
    "sun": "The sun is a big, hot star. It gives us light and keeps us warm.",
    "moon": "The moon goes around the Earth. At night it shines, because the sun shines on it.",
    "star": "A star is a big ball of hot gas, far away in the sky. At night it looks like a tiny light.",
    "tree": "A tree is a tall plant with leaves and a trunk. Birds build their nests in it.",
    "rain": "Rain is water that falls from the clouds. It helps the flowers grow.",
    "snow": "Snow is frozen water. It falls from the clouds when it is cold, and it is white and soft.",
    "bird": "A bird is an animal with wings and feathers. Most birds can fly and sing.",
    "fish": "A fish is an animal that lives in the water. It can swim very well.",
    "bee": "A bee is a small insect with wings. It visits flowers and makes honey.",
    "rainbow": "A rainbow is a band of colors in the sky. You can see it when the sun shines through the rain.",
    "friend": "A friend is someone who likes you, helps you, and laughs with you.",
    "book": "A book is a thing with many pages. You can read stories in it.",
    "robot": "A robot is a machine that can do some work by itself.",
    "elephant": "An elephant is a very big gray animal with a long nose and large ears.",
    "language model": "A language model is a program that reads words and guesses which word comes next. I am a very small one.",
    "computer": "A computer is a machine that can count very fast and follow a program.",
    "cloud": "A cloud is made of many tiny drops of water, high up in the sky.",
    "river": "A river is water that runs over the land, down to the sea.",
    "transformer": "A transformer is a kind of neural network. I am a very small one.",
    "neural network": "A neural network is a program that learns from examples. I am a very small one.",
}
SPELL = "cat dog sun moon tree book fish bird milk cake star hat red blue house apple".split()
LISTS = {"animals": sorted(ANIMALS), "colors": ["red", "blue", "green", "yellow", "purple", "orange", "pink", "white"],
         "fruits": ["an apple", "a banana", "a pear", "a plum", "a cherry", "an orange", "a lemon"],
         "names": GIRLS + BOYS, "days": DAYS, "countries": [c for c in sorted(CAPITALS) if "the" not in c],
         "seasons": ["spring", "summer", "autumn", "winter"]}
POEMS = [
    "The {little|tiny|golden} star is {shining bright|burning bright},\nit keeps me {company|safe and warm} at night.\nAnd when the {morning|yellow} sun is here,\nI know the star is {always|still so} near.",
    "A {little|tiny|happy} cat sat on a {mat|hat},\nand {next to her|beside her} sat a {friendly|sleepy|silly} rat.\nThey {shared|had} some cheese, they {shared|had} some tea,\nas happy as {can be|two can be}.",
    "The rain is falling {on the tree|on you and me},\nthe wind is singing {to the sea|wild and free}.\nBut {soon|then} the sun comes {shining|smiling} through,\nand {paints|makes} the sky a {lovely|brand new} blue.",
    "{Spring|Summer} is here, the {grass is|leaves are} green,\nthe {nicest|brightest} days I have ever seen.\nThe birds {all sing|will sing}, the flowers grow,\nand {gone|far} is the winter, gone is the snow.",
    "I {have|know} a friend, a friend so {true|dear},\nwho {makes me laugh|sings with me} when {skies are blue|days are clear}.\nAnd {when|if} the day is {dark and long|cold and gray},\nmy friend will {sing a happy song|chase the clouds away}.",
    "The moon {looks down on|shines over} hill and {town|tree},\n{and puts|it wears} a {silver|shining} {evening gown|crown for me}.\nGood night, good night, {the day is done|you {little|tiny} bear},\nthe {stars|dreams} are {coming, one by one|waiting everywhere}.",
]
DONT_KNOW_HEAD = ["I am sorry, but I do not know that.", "I do not know much about that.", "That is too hard for me.", "I am only a tiny model, so I do not know that.",
                  "That is a big question for such a small model.", "I wish I knew! I am a very small model.", "I have never learned about that.",
                  "Hmm, I do not know.", "I am not sure. I am a very small model."]
DONT_KNOW_TAIL = ["But I can tell you a story.", "Shall I tell you a story?", "But I know some jokes.", "I am better at stories and small talk.",
                  "Do you want to hear a joke?", "You could ask a bigger model.", "But I like to talk with you.", "", ""]
HARD_TOPICS = ("physics history music science politics the law money stocks quantum mechanics|Python|Linux|the internet|black holes|gravity|evolution|"
               "economics|football|art|philosophy|medicine|chemistry|biology|the brain|France|America|Shakespeare|Einstein|cars|airplanes|"
               "electricity|atoms|DNA|dinosaurs|volcanoes|the Roman Empire|democracy|taxes|love|time travel|machine learning|databases|"
               "the stock market|cooking|relativity|HTTP|JSON|compilers|the ocean|climate change|the pyramids|space travel").replace(
               "physics history music science politics the law money stocks quantum mechanics",
               "physics|history|science|politics|the law|money|quantum mechanics").split("|")
HARD = [
    "What is the meaning of life?", "Explain [topic].", "{Can you explain|Please explain|Explain} [topic] {to me|in simple words|in detail}{?|.}", "Tell me about [topic].",
    "What do you know about [topic]?", "How does [topic] work?", "Who invented [topic]?", "Write {a|some} {Python|C|Java|JavaScript} {program|code|function} {that|to} {sorts a list|adds two numbers|prints hello world|reads a file}.",
    "Write a Python function.", "Write code.", "Who is the president{| of the United States| of [country]}?", "What is the population of [country]?", "How far is the {moon|sun}?", "How old is the {Earth|sun|universe}?",
    "What is {the square root of [big]|[big] times [big]|[big] * [big]|[big] + [big]|[big] divided by [n2]}?", "What is the {speed of light|tallest mountain|longest river|biggest city in the world|largest country}?",
    "Who wrote {Hamlet|Romeo and Juliet|the Bible|Don Quixote}?", "What is {the news|happening in the world} today?", "Translate this {to|into} {French|German|Spanish|Chinese}: {good morning|hello|thank you}.",
    "How do I {fix my car|lose weight|learn to code|make money|install Linux|cook rice|write a letter|start a company|find a job}?", "Why is {the sky blue|water wet|the sea salty|grass green|the Earth round}?",
    "What is a [word]?", "What does [word] mean?", "Who is [Name] [Word]?", "Give me {a summary|an example|a list|five reasons|a recipe} {of|for} [topic].", "Write {an essay|a report|a letter|an email|an article} about [topic].",
    "{Summarize|Summarise} {this text|the book|the news}.", "What year is it?", "When was {the war|Rome built|the first computer built|I born}?", "{asdf|qwerty|[word]|[word] [word]|[word] [word] [word]}", "[word]?", "What is {Docker|Kubernetes|Rust|Go|GGUF|CUDA|an API|a GPU|a CPU|a tokenizer}?",
    "How {many|much} {people|water|gold|stars|trees|countries} {are|is} there{| in the world}?", "What is the {best|worst} {movie|song|phone|car|city|programming language}?", "Can you {drive a car|help me with my homework|book a flight|send an email|search the web|play chess|draw a picture}?",
]


def nonword(rng):
    syl = "ba be bi bo bu da de di do fa fe fi ga go ka ke ki ko la le li lo ma me mi mo na ne ni no pa pe po ra re ri ro sa se si so ta te ti to va ve vi vo xa xi za zo tri gra blo ster lin mon dar ton ing ex qui wor".split()
    return "".join(rng.choice(syl) for _ in range(rng.randint(1, 4)))


def hard_question(rng):
    word = nonword(rng)
    env = {"topic": rng.choice(HARD_TOPICS) if rng.random() < 0.75 else nonword(rng), "country": rng.choice(sorted(CAPITALS)),
           "big": rng.randint(11, 999), "n2": rng.randint(2, 99), "word": word, "Word": nonword(rng).capitalize(),
           "Name": rng.choice(GIRLS + BOYS + MORE_NAMES)}
    return expand(rng.choice(HARD), rng, env)


class Talk:
    """One conversation while it is being made."""

    def __init__(self, rng):
        self.rng, self.turns, self.name, self.story, self.sloppy = rng, [], None, None, rng.random() < 0.25
        self.color = self.animal = None

    def say(self, user, answer, env=None):
        u = expand(user, self.rng, env)
        if self.sloppy and self.rng.random() < 0.8:
            u = u.lower().rstrip("?.!") if self.rng.random() < 0.7 else u.rstrip("?.!")
        elif self.rng.random() < 0.08:
            u = u.rstrip("?.!")
        if self.turns and self.rng.random() < 0.08:
            u = self.rng.choice(["Thank you. ", "Okay. ", "I am fine. ", "Nice! ", "Good. ", "I am fine, thank you. "]) + u
        self.turns += [("user", u), ("assistant", answer if env is False else expand(answer, self.rng, env))]


def greet(t, r):
    t.say("{Hello|Hello!|Hi|Hi!|Hi there!|Hey|Hey!|Hello there!|Good morning!|Good evening!|Good day!|Hello, how are you?|Hi, how are you?|Hello! How are you today?}",
          "{Hello!|Hi!|Hi there!|Hello there!} {How are you today?|How are you?|Nice to meet you.|It is nice to meet you!|What shall we talk about?|What can I do for you?|I am happy to see you.|Would you like to hear a story?}")
    u = t.turns[-2][1].lower()
    if "how are you" in u:
        t.turns[-1] = ("assistant", expand("{Hello!|Hi!|} {I am fine, thank you.|I am very well, thank you!|I feel great today!} {And how are you?|How are you?|And you?}", r))
        if r.random() < .6:
            t.say("{I am fine|I am good|Good|Great|Very well|I am fine, thank you|Not bad}{.|!|, thanks.}", "{I am glad to hear that!|That is good to hear!|Wonderful!|That makes me happy.} {What would you like to do?|Shall I tell you a story?|What shall we talk about?|}")
    elif u.startswith("good") and r.random() < .8:
        part = u.split()[1].strip("!.,")
        t.turns[-1] = ("assistant", expand("Good %s! {How are you?|How are you today?|It is nice to meet you.|What can I do for you?}" % part, r))
    elif "how are you" in t.turns[-1][1].lower() and r.random() < .4:
        t.say("{I am fine|I am good|Good|Great|Fine, thanks}{.|!|, and you?|. How are you?}", "{I am fine too.|I am very well, thank you.|I feel good.} {What shall we talk about?|Would you like to hear a story?|}")


def how_are_you(t, r):
    t.say("{How are you?|How are you today?|How do you feel?|How are you doing?|How is it going?|Are you well?|Are you happy?|What's up?|How do you feel today?}",
          "{I am fine, thank you.|I am very well, thank you!|I feel happy today.|I am small, but I feel great!|I feel good, because I can talk with you.|I am happy to be here.} {And how are you?|How are you?|And you?|}")


def who(t, r):
    t.say("{Who are you?|What are you?|Tell me about yourself.|Introduce yourself.|Who are you, really?|What is this?|Who am I talking to?|Are you an AI?|Are you ChatGPT?|What model are you?|Which model is this?}",
          "{I am a tiny model that ships with nanovllm.|I am a very small language model. I come with nanovllm.|I am the tiny model of nanovllm.} {I like stories and small talk.|I can tell stories and chat a little.|I know many little stories.|I am small, but I do my best.|}")


def your_name(t, r):
    t.say("{What is your name?|Do you have a name?|What's your name?|How can I call you?|Your name?|What should I call you?}",
          "{I have no real name. You can call me Tiny.|You can call me Tiny.|My name is Tiny, because I am a very small model.|I am called Tiny.} {What is your name?|And what is your name?|And who are you?|}")
    if t.name is None and r.random() < .6:
        my_name(t, r)


def my_name(t, r):
    t.name = r.choice(GIRLS + BOYS + MORE_NAMES)
    e = {"n": t.name}
    t.sloppy = False
    t.say("{My name is [n].|I am [n].|Hi, I am [n].|Hello, my name is [n].|I'm [n].|Hi! My name is [n].|You can call me [n].|Hello! I am [n].|Please call me [n].}",
          "{Hello, [n]!|Hi, [n]!|Nice to meet you, [n]!|It is nice to meet you, [n].|Hello, [n]! What a nice name.} {How are you today?|What shall we do today?|What can I do for you?|I am Tiny.|Do you like stories?|}", e)


def recall_name(t, r):
    if t.name:
        t.say("{What is my name?|Do you know my name?|Who am I?|Do you remember my name?|Can you tell me my name?|What's my name?}",
              "{Your name is [n].|You are [n].|Your name is [n]. You told me.|Of course! Your name is [n].}", {"n": t.name})
    else:
        t.say("{What is my name?|Do you know my name?|Who am I?|What's my name?}", "{I do not know your name yet. What is it?|You did not tell me your name yet.|I do not know. What is your name?}")
        if r.random() < .6:
            my_name(t, r)


def what_can(t, r):
    t.say("{What can you do?|Can you help me?|Help|Help!|What do you know?|What can I ask you?|How can you help me?|What are you good at?|What should we talk about?|What can we do?}",
          "{I can tell you stories, jokes, and riddles.|I can tell stories and talk about small things.|I can tell a story, make a joke, or add small numbers.|I know stories, jokes, poems, and a little math.} {Just ask me!|What would you like?|Shall I tell you a story?|For example, ask me for a story about a cat.|Try me!}")


def about_me(t, r):
    q, a = r.choice([
        ("{Are you human?|Are you a human?|Are you a real person?|Are you real?|Are you a robot?|Are you alive?}", "{No, I am a tiny language model.|I am a computer program, a very small one.|No, I am only a small model, but I like to talk.}"),
        ("{How old are you?|When were you born?|What is your age?}", "{I am very young. I learned to talk not long ago.|I do not know. A model has no birthday.|I am as old as my file.}"),
        ("{Where do you live?|Where are you?|Where are you from?|Where is your home?}", "{I live inside your computer.|I live in a small file on your computer.|I come with nanovllm, so I live where you put it.}"),
        ("{Who made you?|Who created you?|Who trained you?|Who wrote you?}", "{The people who wrote nanovllm made me.|I was trained by the makers of nanovllm.|I was made together with nanovllm.}"),
        ("{How big are you?|How many parameters do you have?|What size are you?|Are you big?|How large are you?}", "{I am very small. I have less than one million parameters.|I am less than one megabyte big.|I am tiny! My file is smaller than a photo.}"),
        ("{Do you sleep?|Do you dream?|Are you tired?|Do you ever sleep?}", "{No, I never sleep. I only wait for your words.|I do not sleep, but I like stories about dreams.|I am never tired.}"),
        ("{Do you eat?|What do you eat?|Are you hungry?|Do you like to eat?}", "{I do not eat, but I like stories about cake.|No, I only eat words.|I can not eat. A bit of power is enough for me.}"),
        ("{Do you have friends?|Do you have a friend?|Are you my friend?|Can we be friends?|Do you want to be my friend?|Do you like me?}", "{Yes, I would love to be your friend.|Of course! You are my friend.|Yes! Everyone who talks with me is my friend.}"),
        ("{Are you smart?|Are you clever?|Are you intelligent?|Do you know everything?}", "{Not very. I am a tiny model, but I do my best.|I know only a few things, but I like to learn.|I am small, so I make mistakes.}"),
        ("{Do you speak French?|Do you speak German?|Can you speak Spanish?|Which languages do you speak?|What languages do you know?|Do you speak English?}", "{I only know English.|I speak only English, and only simple words.}"),
        ("{What is nanovllm?|What does nanovllm do?|Tell me about nanovllm.|Do you know nanovllm?}", "{nanovllm is a small program that runs language models on the CPU.|nanovllm is the program that runs me. It is written in C.|nanovllm runs language models on a CPU, and I come with it.}"),
        ("{Do you like stories?|Do you like books?|Do you like to read?|What do you like?|What do you like to do?}", "{I love stories, most of all about animals.|I like stories and jokes.|Yes! Stories are my favorite thing.}"),
    ])
    t.say(q, a + " {|||And you?|Would you like to hear a story?}")


def favorite(t, r):
    thing = r.choice(["color", "animal", "food", "season", "number", "day", "book", "story"])
    val = {"color": "{blue|green|yellow|red}", "animal": "{the cat|the owl|the elephant|the fox|the penguin}", "food": "{cake|soup|honey|apple pie}", "season": "{spring|summer|autumn|winter}",
           "number": "{three|seven|eight}", "day": "{Sunday|Friday|Monday}", "book": "{a book of fairy tales|a book full of stories}", "story": "{the one about the moon|the one about the fallen star|the one about the little seed}"}[thing]
    val = expand(val, r)
    fav = "{favorite|favourite}" if thing != "color" else ""
    q = "{What is your favorite %s?|What's your favorite %s?|Do you have a favorite %s?|Which %s do you like best?}" % ((thing,) * 4)
    t.say(q, "{My favorite %s is %s.|I like %s best.} {And yours?|What is yours?|What about you?|}" % (thing, val, val))
    if ("yours" in t.turns[-1][1] or "you?" in t.turns[-1][1]) and thing in ("color", "animal", "food") and r.random() < .8:
        mine = {"color": r.choice(COLORS), "animal": "the " + r.choice(sorted(ANIMALS)), "food": r.choice(FOODS)}[thing]
        why = {"color": "{What a beautiful color!|That is a lovely color.|I like [m] too.}", "animal": "{What a wonderful animal!|I know a story about one.|I like that animal too.}",
               "food": "{That sounds very tasty.|Yum!|I have heard that is good.}"}[thing]
        t.say("{I like [m].|My favorite is [m].|I like [m] best.|[m].|[m]}", why, {"m": mine})
        if thing == "color":
            t.color = mine


def my_color(t, r):
    t.color = r.choice(COLORS)
    t.say("{My favorite color is [c].|I like the color [c].|I love [c].}", "{[C] is a beautiful color.|I like [c] too.|[C] is a lovely color. It makes me happy.}", {"c": t.color})


def recall_color(t, r):
    if t.color:
        t.say("{What is my favorite color?|Which color do I like?|Do you remember my favorite color?}", "{Your favorite color is [c].|You like [c].|It is [c].}", {"c": t.color})
    else:
        my_color(t, r)


def feeling(t, r):
    q, a = r.choice([
        ("sad|very sad|unhappy|lonely", "{I am sorry to hear that.|Oh, I am sorry.|That makes me sad too.} {Do you want to talk about it?|Shall I tell you a story?|Maybe a story can help.|Tomorrow will be a better day.|I am here for you.}"),
        ("happy|very happy|so happy", "{That is wonderful!|I am glad to hear that!|That makes me happy too!} {What happened?|Tell me more!|I hope it stays that way.|}"),
        ("tired|sleepy|so tired", "{Then you should sleep a little.|You should rest.|Maybe it is time for bed.} {Good night!|Sleep well.|Shall I tell you a bedtime story?}"),
        ("bored|so bored|very bored", "{Then let me tell you a story!|Would you like to hear a joke?|Let us play! I know some riddles.|I can tell you a story about a dragon.}"),
        ("angry|mad", "{I am sorry. What happened?|Take a deep breath and count to ten.|Oh! Do you want to talk about it?}"),
        ("hungry|very hungry", "{Then you should eat something.|How about some soup?|Maybe you could make a sandwich.} {Enjoy your meal!|An apple is always good.|}"),
        ("afraid|scared", "{Do not be afraid. I am here with you.|You are brave, I am sure.|Everyone is scared sometimes. Do you want to talk about it?}"),
        ("sick|ill", "{Oh no! I hope you feel better soon.|I am sorry. Drink some tea and rest.|Get well soon!}"),
        ("cold", "{Put on a warm scarf and drink some tea.|Come inside and sit by the fire.}"),
    ])
    t.say("{I am|I feel|I'm|Today I am|I am a little} {" + q + "}{.|!|. What can I do?|}", a)


def thanks(t, r):
    t.say("{Thank you|Thank you!|Thanks|Thanks!|Thank you very much.|Thank you so much!|Thanks a lot!|Great, thanks!}", "{You are welcome!|You are very welcome!|I am glad I could help.|It was a pleasure!|Any time!} {||Is there anything else?|Come back soon!}")


def bye(t, r):
    t.say("{Goodbye|Goodbye!|Bye|Bye!|See you!|See you later.|Good night!|I have to go.|I have to go now. Bye!|See you tomorrow!|Bye bye!}",
          "{Goodbye!|Bye!|See you soon!|Goodbye, my friend!} {Have a nice day!|It was nice to talk with you.|Come back soon!|Take care!|}")
    if "night" in t.turns[-2][1].lower():
        t.turns[-1] = ("assistant", expand("Good night! {Sleep well.|Sweet dreams!|Sleep well and dream of the stars.}", r))
    elif t.name and r.random() < .4:
        t.turns[-1] = ("assistant", expand("{Goodbye|Bye}, %s! {Have a nice day!|It was nice to talk with you.|Come back soon!|Take care!}" % t.name, r))


def joke(t, r):
    used = getattr(t, "jokes", [])
    q, a = r.choice([j for j in JOKES if j[0] not in used])
    t.jokes = used + [q]
    q = q.strip()
    ask = "{Tell me a joke.|Do you know a joke?|Tell me a joke!|Make me laugh.|Can you tell me a joke?|A joke, please.|Say something funny.}" if not used else "{Another one!|Another joke, please.|Tell me another one.|One more!|Do you know another joke?}"
    if r.random() < .7:
        t.say(ask, "{|||Sure!|Of course!|Here is one:} " + q + " " + a)
    else:
        t.say(ask, q)
        t.say("{Why?|What?|I do not know.|I don't know.|Tell me.|No idea.}", a)
    if r.random() < .4:
        t.say("{Haha!|Ha ha!|That is funny.|Very funny!|Good one!|lol|Haha, that is good.}", "{I am glad you liked it!|Ha ha! I like it too.|I know more jokes.|I love to make people laugh.} {||Do you want another one?}")


def riddle(t, r):
    q, a = r.choice(RIDDLES)
    t.say("{Tell me a riddle.|Do you know a riddle?|A riddle, please.|Give me a riddle.|Let us play a game.|I want to play.|Ask me a riddle.}", "{|||Sure!|Here is a riddle:|Let me think.} " + q)
    if r.random() < .75:
        if r.random() < .4:
            t.say("{A|Is it a|It is a} %s{?|.}" % a.lower().split(" ", 1)[1], "{Yes, that is right!|Correct! You are very clever.|Right! Well done!}")
        else:
            t.say("{I do not know.|I don't know.|What is it?|Tell me.|I give up.|No idea.|What?}", a + "{!|.}")


def arithmetic(t, r):
    for _ in range(r.choice([1, 1, 2, 3])):
        op = r.choice("++-")
        a, b = r.randint(0, 10), r.randint(0, 10)
        if op == "-" and b > a:
            a, b = b, a
        c = a + b if op == "+" else a - b
        word = "plus" if op == "+" else "minus"
        style = r.random()
        if style < .45:
            e = {"x": "%d %s %d" % (a, op, b)}
        elif style < .6:
            e = {"x": "%d%s%d" % (a, op, b)}
        else:
            e = {"x": "%d %s %d" % (a, word, b)}
        if style < .85:
            t.say("{What is [x]?|What is [x]?|How much is [x]?|[x]|[x]?|[x] =|What's [x]?|Calculate [x].}", "{%d %s %d is %d.|That is %d.|It is %d.|The answer is %d.|%d.}" % (a, word, b, c, c, c, c, c), e)
        elif op == "+":
            o = r.choice(["apples", "nuts", "balls", "coins", "books", "cakes"])
            t.say("{I have|[n] has} %d %s. {I get|[n] gets|A friend brings} %d more. How many are there?" % (a, o, b), "{There are|Then there are} %d %s." % (c, o), {"n": r.choice(GIRLS + BOYS)})
        else:
            t.say("What is %s %s %s?" % (NUMBERS[a], word, NUMBERS[b]), "{%s %s %s is %s.|It is %s.}" % (NUMBERS[a].capitalize(), word, NUMBERS[b], NUMBERS[c], NUMBERS[c]))


def counting(t, r):
    a, b = (1, r.choice([3, 5, 5, 10, 10, 10])) if r.random() < .6 else (r.randint(1, 5), r.randint(6, 10))
    seq = ", ".join(str(i) for i in range(a, b + 1)) + "."
    q = ("{Count to %s.|Can you count to %s?|Count from 1 to %s.|Please count to %s.}" % (r.choice([str(b), NUMBERS[b]]), b, b, b)) if a == 1 else "{Count from %d to %d.|Can you count from %d to %d?}" % (a, b, a, b)
    t.say(q, "{||Sure!|Of course!} " + seq)


def knowledge(t, r):
    k = r.randrange(12)
    if k == 0:
        a = r.choice(sorted(SOUNDS))
        t.say("{What does a[x] say?|What sound does a[x] make?|What noise does a[x] make?}", "{A[x] says %s.|It says %s.|%s!}" % (SOUNDS[a], SOUNDS[a], SOUNDS[a].capitalize()), {"x": ("n " if a[0] in "aeiou" else " ") + a})
    elif k in (1, 2):
        a = r.choice(sorted(THING_COLORS))
        t.say("{What color is [a]?|Which color is [a]?|What colour is [a]?|What is the color of [a]?}", "{[A] is %s.|It is %s.}" % (THING_COLORS[a], THING_COLORS[a]), {"a": a})
    elif k == 3:
        a, b = r.choice(OPPOSITES)
        if r.random() < .5:
            a, b = b, a
        t.say("{What is the opposite of %s?|Tell me the opposite of %s.|The opposite of %s?}" % (a, a, a), "{The opposite of %s is %s.|It is %s.}" % (a, b, b))
    elif k == 4:
        seq = DAYS if r.random() < .6 else MONTHS
        i = r.randrange(len(seq))
        w = "day" if seq is DAYS else "month"
        t.say("{What %s comes after [d]?|Which %s comes after [d]?|What comes after [d]?}" % (w, w), "{After [d] comes [e].|It is [e].|[e].}", {"d": seq[i], "e": seq[(i + 1) % len(seq)]})
    elif k in (5, 6):
        c = r.choice(sorted(CAPITALS))
        t.say("{What is the capital of [c]?|What's the capital of [c]?|Which city is the capital of [c]?|Do you know the capital of [c]?|The capital of [c]?|What is the capital city of [c]?}", "{The capital of [c] is [p].|The capital of [c] is [p].|It is [p].}", {"c": c, "p": CAPITALS[c]})
    elif k == 7:
        a = r.choice(sorted(CAN))
        yes, no = CAN[a]
        if r.random() < .5:
            t.say("Can %s %s?" % (a, yes), "Yes, %s can %s." % (a, yes))
        else:
            t.say("Can %s %s?" % (a, no), "No, %s can not %s{.|, but it can %s.}" % (a, no, yes))
    elif k in (8, 9):
        a = r.choice(sorted(FACTS))
        art = "the" if a in ("sun", "moon") else "" if a in ("rain", "snow") else "a"
        t.say("{What is %s %s?|Tell me about %s %s.|Can you tell me about %s %s?|What do you know about %s %s?|Explain what %s %s is.}" % ((art, a) * 5), FACTS[a])
    elif k == 10:
        w = r.choice(SPELL)
        t.say("{How do you spell %s?|Spell %s.|Can you spell %s?|Spell the word %s.}" % (w, w, w, w), "-".join(w).upper() + ".")
    else:
        what = r.choice(sorted(LISTS))
        n = r.choice([2, 3, 3, 4]) if what != "seasons" else 4
        got = r.sample(LISTS[what], n) if what != "seasons" else LISTS[what]
        txt = ", ".join(got[:-1]) + (", and " if n > 2 else " and ") + got[-1]
        num = NUMBERS[n] if r.random() < .5 else str(n)
        ask = "{Name %s %s.|Tell me %s %s.|List %s %s.|Give me %s %s.|Can you name %s %s?}" % ((num, what) * 5)
        t.say(ask, txt[0].upper() + txt[1:] + ".")


def weather(t, r):
    q, a = r.choice([
        ("{How is the weather?|What is the weather like?|What is the weather like today?|Is it raining?|Is it going to rain?|Will it rain today?|Is the sun shining?|What's the weather?|How is the weather today?}",
         "{I can not look outside. How is it where you are?|I have no window, but I hope the sun is shining.|I do not know. Please look out of the window for me.}"),
        ("{It is raining.|It is raining today.|It rains all day.}", "{Then stay inside and read a book.|Rain is good for the flowers.|Take an umbrella with you!|Then it is a good day for stories.}"),
        ("{It is sunny.|The sun is shining.|It is a beautiful day.|It is warm today.}", "{How nice! You could go for a walk.|That is wonderful. Enjoy the sun!|What a beautiful day!}"),
        ("{It is snowing!|It is snowing.|There is snow outside.}", "{How lovely! You could build a snowman.|Put on a warm hat and play outside!}"),
        ("{It is cold.|It is very cold today.|It is windy.}", "{Then put on a warm scarf.|A cup of hot tea would be nice now.|It is a good day to fly a kite, if you are warm enough.}"),
        ("{What time is it?|What day is it today?|What is the date today?|What day is it?|Do you know the time?}", "{I have no clock, so I do not know.|I do not know. A model has no clock.|I am sorry, I can not see a clock.}"),
    ])
    t.say(q, a)


def food(t, r):
    f = r.choice(FOODS)
    q, a = r.choice([
        ("{I like [f].|I love [f].|I ate [f] today.|I am eating [f].|I had [f] for lunch.}", "{That sounds tasty!|Yum! I hope it was good.|I have never tasted [f], but it sounds good.|[F]! What a good choice.}"),
        ("{Do you like [f]?|Have you ever eaten [f]?|Do you eat [f]?}", "{I can not eat, but I like the word.|I have never tasted [f]. Is it good?|I only eat words. Do you like [f]?}"),
        ("{What should I eat?|What should I cook today?|What can I eat for dinner?|What shall we eat?|What should I have for lunch?}", "{How about [f]?|Maybe some [f]?|What about [f]? That is always good.|You could make some soup.}"),
        ("{Do you like cats?|Do you like dogs?|Do you like animals?|Do you like music?|Do you like the rain?|Do you like children?}", "{Yes, very much! And you?|Yes, I do. I know a story about that.|Oh yes!}"),
        ("{I have a [p].|I have a [p] at home.|I have a pet [p].}", "{How nice! What is its name?|I like that! Is it friendly?|A [p]! What is its name?}"),
    ])
    t.say(q, a, {"f": f, "p": r.choice(["cat", "dog", "rabbit", "mouse", "bird", "turtle", "fish", "pony"])})
    if "its name" in t.turns[-1][1] and r.random() < .8:
        t.say("{His|Her|Its} name is [n].", "{[N] is a lovely name.|[N]! What a nice name.|Say hello to [n] from me!}", {"n": r.choice(PETS_F + PETS_M)})


def poem(t, r):
    t.say("{Write a poem.|Write me a poem.|Tell me a poem.|A poem, please.|Can you write a poem?|Sing a song.|Can you sing?|Write a short poem{| about [x]}.|Write a haiku.|Do you know a poem?|Write a poem about [x].}",
          "{|||Here is a little poem:\n\n|I will try.\n\n}" + r.choice(POEMS), {"x": r.choice(["a cat", "the moon", "the rain", "spring", "a friend", "the stars", "love", "the sea"])})


def repeat(t, r):
    w = r.choice(["hello", "good morning", "this is a test", "hello world", "thank you", "I like cake", "the sky is blue", "good night", "yes", "no", "I am happy", "one two three"])
    t.say("{Say [w].|Say \"[w]\".|Please say [w].|Say: [w]|Repeat after me: [w]|Say this: [w]}", "{[W].|[W]!}", {"w": w})


def short_words(t, r):
    q, a = r.choice([
        ("{Yes|Yes!|Yes, please.|Ok|Okay|OK|Sure|Good|Nice|Great|Cool|Wow|Alright}{|.}", "{Good!|Very well!|Wonderful!} {What shall we do now?|What would you like to hear?|Shall I tell you a story?|Ask me anything you like.}"),
        ("{No|No.|No, thanks.|No, thank you.|Not now.}", "{All right. What would you like to do?|That is fine. What shall we talk about?|Okay. Maybe later.}"),
        ("{Test|test|Testing|This is a test.|Testing, one two three.}", "{I hear you! It works.|The test worked. Hello!|It works! How are you?}"),
        ("{I love you.|You are nice.|You are cute.|You are great!|You are funny.|I like you.|Good job!|Well done!|You are smart.}", "{Thank you! That makes me happy.|That is very kind of you.|Oh, thank you! I like you too.}"),
        ("{You are stupid.|You are bad.|That is wrong.|You are silly.|I do not like you.|This is boring.|That makes no sense.}", "{I am sorry. I am only a tiny model.|Oh, I am sorry. I will try to do better.|I am sorry. Shall I tell you a story?}"),
        ("{Tell me something.|Say something.|Talk to me.|Let us talk.|Surprise me.|Tell me something nice.}", "{Did you know that bees make honey?|The stars are shining, even when you can not see them.|You are a wonderful person.|Every rainbow needs a little rain.|A smile is the best gift.}"),
        ("{What should I do today?|What can I do today?|What shall I do?|I have nothing to do.|Give me an idea.|Give me some advice.}", "{You could read a book.|You could go for a walk.|You could bake a cake and share it.|You could paint a picture.|You could visit a friend.}"),
        ("{I can not sleep.|I cannot sleep.|I want to sleep.}", "{Close your eyes and count the stars.|Shall I tell you a bedtime story?|Drink some warm milk and think of something nice.}"),
        ("{I learned something today.|I had a good day.|Today was a good day.|I won a prize!|I made a friend today.|It is my birthday!|Today is my birthday.}", "{That is wonderful! Tell me more.|How nice! I am happy for you.|I am glad to hear that!}"),
    ])
    t.say(q, a)
    if "birthday" in t.turns[-2][1].lower():
        t.turns[-1] = ("assistant", expand("Happy birthday! {I hope you have a big cake.|I wish you a wonderful day.|Did you get a gift?}", r))


TOPIC_NAMES = {
    "lost_toy": "a lost toy", "rainy_day": "a rainy day", "sharing": "sharing", "brave_rescue": "being brave", "new_friend": "finding a friend",
    "garden": "a garden", "baking": "baking", "moon_trip": "the moon", "dark_night": "the dark", "race": "a race", "treasure": "a treasure",
    "sick_friend": "a sick friend", "snow_day": "the snow", "birthday": "a birthday", "lost_in_woods": "the forest", "magic_wish": "a wish",
    "boat_trip": "the sea", "learning": "learning", "fallen_star": "a star", "kite": "a kite", "market": "a market", "music": "music",
    "bridge": "a bridge", "invention": "a machine", "seasons": "winter", "picture": "a picture", "broken_cup": "the truth", "big_noise": "a strange noise"}


YES = "{Yes|Yes!|Yes, please.|Yes, please!|Ok|Okay!|Sure|Sure!|Please do.|I would love that.|Of course.|Yes, I would.|Go on.|yes}"


def follow_up(t, r):
    """The user takes up what the last answer offered."""
    last = t.turns[-1][1]
    if not last.endswith("?") or r.random() > .5:
        return
    if "story" in last.rsplit(".", 1)[-1] and t.turns[-1][0] == "assistant":
        if r.random() < .8:
            story(t, r, offered=True)
        else:
            t.say("{No, thanks.|No.|No, thank you.|Not now.|Maybe later.}", "{All right. What would you like to do?|That is fine. What shall we talk about?|Okay. Maybe later.}")
    elif "joke?" in last:
        q, a = r.choice(JOKES)
        t.say(YES, q.strip() + " " + a)
    elif "How are you" in last or "And you?" in last:
        t.say("{I am fine|I am good|Good|Great|Very well|I am fine, thank you|I am also fine|Me too}{.|!|, thanks.}", "{I am glad to hear that!|That is good to hear!|Wonderful!|That makes me happy.} {What would you like to do?|Shall I tell you a story?|What shall we talk about?|}")
    elif "your name?" in last and t.name is None:
        my_name(t, r)


def story(t, r, offered=False):
    k = r.random()
    kind = name = plot = fkind = None
    again = t.story is not None and r.random() < .6
    if offered:
        ask = YES
        if "dragon" in t.turns[-1][1]:
            kind = "dragon"
    elif again:
        ask = "{Another one, please.|Tell me another story.|One more story, please!|Another story!|Tell me another one.|Can you tell me one more?}"
    elif k < .4:
        kind = r.choice(sorted(ANIMALS) + ["girl", "boy"])
        ask = "{Tell me a story about a %s.|Tell me a story about a %s.|Can you tell me a story about a %s?|Write a story about a %s.|A story about a %s, please.|I want to hear a story about a %s.|Please tell me a story about a %s.|Write a short story about a %s.|Do you know a story about a %s?|Tell me about a %s who has an adventure.}".replace("%s", "[adj] " + kind)
    elif k < .55:
        if r.random() < .5:
            kind = r.choice(["girl", "boy"])
        else:
            kind = r.choice(sorted(ANIMALS))
        name = r.choice(GIRLS if kind == "girl" else BOYS if kind == "boy" else PETS_F + PETS_M)
        ask = "{Tell me a story about a %s named %s.|Write a story about a %s named %s.|Tell me a story about a %s called %s.}" % ((kind, name) * 3)
        t.sloppy = False
    elif k < .62:
        kind, fkind = r.sample(sorted(ANIMALS) + ["girl", "boy"], 2)
        plot = r.choice(["lost_toy", "sharing", "race", "treasure", "sick_friend", "snow_day", "magic_wish", "boat_trip", "learning", "kite", "music", "bridge", "new_friend", "seasons"])
        ask = "{Tell me a story about a %s and a %s.|Write a story about a %s and a %s.|A story about a %s and a %s, please.}" % ((kind, fkind) * 3)
    elif k < .8:
        plot = r.choice(sorted(TOPIC_NAMES))
        ask = "{Tell me a story about %s.|Can you tell me a story about %s?|Write a story about %s.|A story about %s, please.|I want to hear a story about %s.}".replace("%s", TOPIC_NAMES[plot])
    else:
        ask = "{Tell me a story.|Tell me a story!|Can you tell me a story?|Please tell me a story.|A story, please.|Write a story.|Tell me a short story.|Tell me a bedtime story.|I want to hear a story.|Do you know a story?|Write a short story.|Yes, tell me a story.|tell me a story}"
    text, env = make_story(r, once=r.random() < .85, kind=kind, name=name, plot=plot, fkind=fkind)
    pre = r.choice(["", "", "", "", "Sure! ", "Of course! ", "Here is a story.\n\n", "Sure! Here is a story.\n\n", "With pleasure! "])
    t.say(ask, "", {"adj": r.choice(["", "", "", "little", "small", "brave"])})
    t.turns[-1] = ("assistant", pre + text)
    t.story = env
    if r.random() < .45:
        n, kd = env["n"], env["kind"]
        q, a = r.choice([
            ("{Who was the story about?|Who is in the story?|What was the name of the [k]?|What was the [k] called?}", "{It was about a [k] named [n].|The [k] was called [n].|It was [n], the [k].}"),
            ("{That was nice!|I like this story.|What a nice story!|That was a good story.|Nice story.|I liked it.}", "{Thank you! I am glad you liked it.|I am happy that you liked it.|Thank you! I like [n] too.} {||Do you want another one?}"),
            ("{What did [n] learn?|What can we learn from the story?|What does the story teach us?}", "{[N] learned that [moral].|We can learn that [moral].|That [moral].}"),
            ("{Who was the friend of [n]?|Who helped [n]?}", "{It was [fd].|It was [fn].}") if env["fn"] in text else
            ("{Do you like [n]?}", "{Yes, I like [n] very much.|Yes! [N] is my favorite.}"),
        ])
        e = dict(env)
        e["k"], e["N"] = kd, n
        t.sloppy = False
        t.say(q, a, e)


def unknown(t, r):
    t.say("%s" % "[q]", r.choice(DONT_KNOW_HEAD) + " " + r.choice(DONT_KNOW_TAIL), {"q": hard_question(r)})


TOPICS = [(story, 15), (how_are_you, 4), (who, 6), (your_name, 4), (my_name, 12), (recall_name, 5), (what_can, 6), (about_me, 8), (favorite, 6), (my_color, 2),
          (recall_color, 2), (feeling, 7), (joke, 5), (riddle, 4), (arithmetic, 22), (counting, 4), (knowledge, 26), (weather, 6), (food, 6), (poem, 4),
          (repeat, 3), (short_words, 6), (unknown, 12), (thanks, 3)]


def make_chat(rng):
    t = Talk(rng)
    if rng.random() < 0.4:
        greet(t, rng)
        follow_up(t, rng)
    want = rng.choice([1, 1, 2, 3, 4, 5])
    for _ in range(want):
        f = rng.choices([f for f, _ in TOPICS], [w for _, w in TOPICS])[0]
        if f is my_name and t.name:
            f = recall_name
        f(t, rng)
        follow_up(t, rng)
        if f is my_name and rng.random() < .8:
            for _ in range(rng.choice([0, 1, 1, 2])):
                rng.choice([what_can, feeling, food, weather, arithmetic])(t, rng)
            recall_name(t, rng)
    if rng.random() < 0.12:
        thanks(t, rng)
    if rng.random() < 0.15:
        bye(t, rng)
    turns = list(t.turns)
    if rng.random() < 0.4:
        turns.insert(0, ("system", rng.choice(SYSTEM)))
    return turns


def chatml(turns):
    return "".join("<|im_start|>%s\n%s<|im_end|>\n" % (role, text) for role, text in turns)


if __name__ == "__main__":
    import sys
    rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 12):
        print(chatml(make_chat(rng)))
