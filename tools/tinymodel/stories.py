"""stories.py - the story grammar: characters, places and some thirty plots.

make_story(rng, ...) returns one complete little story. A cast is drawn first
(hero, friend, objects, places); every plot then speaks of that cast, so names,
pronouns, animals and objects stay the same from the first line to the last.
"""
from grammar import expand

GIRLS = ("Lily Mia Anna Emma Lucy Rosie Ruby Nora").split()
BOYS = ("Tom Ben Max Sam Leo Jack Finn Oscar").split()
PETS_F = "Bella Luna Coco Poppy Pearl".split()
PETS_M = "Pip Rusty Biscuit Teddy Felix".split()

# species -> where it lives, what it likes to eat
FOREST = "{in a hollow tree in the forest|in the green forest|in a cozy den under an old oak tree|at the edge of the forest}"
HOUSE = "{in a red house with a garden|in a small house near the park|in a house by the river}"
POND = "{by a quiet pond|at the edge of a blue pond|by a little stream}"
FARM = "{on a farm|on a small farm near the hills|in a warm barn on a farm}"
JUNGLE = "{in the jungle|deep in the warm jungle}"
ANIMALS = {
    "cat": (HOUSE, "fish"), "dog": (HOUSE, "bones"), "rabbit": (FOREST, "carrots"),
    "mouse": ("{in a tiny hole behind the kitchen|under the floor of an old mill|in a corn field}", "cheese"),
    "bear": (FOREST, "honey"), "fox": (FOREST, "berries"), "frog": (POND, "soup"),
    "duck": (POND, "bread"), "owl": (FOREST, "berries"), "bird": ("{in a nest in a tall tree|in a nest on the roof of a school}", "seeds"),
    "squirrel": (FOREST, "nuts"), "hedgehog": (FOREST, "apples"), "turtle": (POND, "leaves"),
    "pig": (FARM, "apples"), "lamb": (FARM, "grass"), "pony": (FARM, "apples"),
    "elephant": (JUNGLE, "bananas"), "monkey": (JUNGLE, "bananas"), "lion": (JUNGLE, "soup"),
    "penguin": ("{on the ice by the cold sea|on a white island of snow}", "fish"),
    "dragon": ("{in a cave on a high mountain|in a warm cave behind a waterfall}", "hot soup"),
    "robot": ("{in a workshop full of clocks|in a little tower at the edge of the town}", "oil"),
}
CHILD_HOME = ("{in a small house near the forest|in a little village by the sea|in a quiet village under the hills|"
              "in a tall house in the city|in a town by the river|on a farm with many animals|in a white house on a hill}")

TRAITS = {
    "kind": "{[He] liked to help everyone [he] met.|Everyone in the [area] liked [him].|[He] always had a smile for others.}",
    "curious": "{[He] asked questions about everything.|[He] wanted to know how everything worked.|[He] looked under every stone and behind every door.}",
    "shy": "{It was hard for [him] to talk to others.|[He] spoke in a very soft voice.|[He] often hid when someone new came by.}",
    "brave": "{[He] was not afraid of the dark.|[He] dreamed of big adventures.|Even the wind and the thunder did not scare [him].}",
    "cheerful": "{[He] sang all day long.|[He] laughed more than anyone else in the [area].|[He] woke up with a smile every morning.}",
    "clever": "{[He] could find an answer to almost any problem.|[He] loved riddles and puzzles.|[His] head was full of good ideas.}",
    "quiet": "{[He] liked to sit and watch the clouds.|[He] did not say much, but [he] saw everything.}",
    "busy": "{[He] always had something to do.|[He] never sat still for long.}",
    "gentle": "{[He] never hurt even the smallest bug.|[He] spoke softly to every flower.}",
    "small": "{[He] was smaller than all [his] friends.|[He] was small, but [his] heart was big.}",
    "funny": "{[He] knew a hundred jokes.|[He] could make anyone laugh.}",
    "young": "{[He] still had many things to learn.|Every day was a new adventure for [him].}",
}
HOBBIES = ("{sing|dance|paint|draw|read books|climb trees|count the stars|run in the grass|play in the sun|"
           "tell stories|look for pretty stones|listen to the rain|build things|play music|watch the clouds|splash in the water}")
COLORS = "red blue green yellow purple orange pink white brown golden silver".split()
TOYS = "ball kite drum boat doll train bell whistle hat scarf book basket cup button ring key lantern balloon".split()
FOODS = "cake pie bread soup cookies pancakes jam honey sandwich apple".split()
FLOWERS = "rose sunflower tulip pumpkin bean tree strawberry".split()
MORALS = {
    "friend": "{a good friend is better than any treasure|friends make every day brighter|it is never too late to make a friend}",
    "share": "{things taste better when you share them|sharing makes two hearts happy}",
    "brave": "{being brave means doing the right thing even when you are scared|even someone small can be very brave}",
    "try": "{you can learn anything if you keep trying|it is all right to fail, as long as you try again}",
    "truth": "{telling the truth makes the heart light|it is always better to tell the truth}",
    "kind": "{a little kindness can change a whole day|kind words can open any door}",
    "wait": "{good things take time|a little care every day can do great things}",
    "help": "{helping others is the best feeling in the world|many hands make light work|together we can do almost anything}",
    "home": "{home is the best place of all|there is no place like home}",
}


def person(rng, gender, kind, name=None, taken=()):
    """One character as a dict of words."""
    if kind in ("girl", "boy"):
        pool = GIRLS if kind == "girl" else BOYS
        gender = "f" if kind == "girl" else "m"
    else:
        gender = gender or rng.choice("fm")
        pool = PETS_F if gender == "f" else PETS_M
    name = name or rng.choice([n for n in pool if n not in taken])
    f = gender == "f"
    return {"n": name, "kind": kind, "he": "she" if f else "he", "him": "her" if f else "him",
            "his": "her" if f else "his", "self": "herself" if f else "himself",
            "child": kind in ("girl", "boy")}


def make_cast(rng, kind=None, name=None, fkind=None):
    """The variables of one story."""
    if name in GIRLS:
        kind = "girl"
    elif name in BOYS:
        kind = "boy"
    if kind is None:
        kind = (rng.choice(["girl", "boy"]) if rng.random() < 0.45
                else rng.choice(sorted(ANIMALS)))
    gender = None
    if name in PETS_F:
        gender = "f"
    elif name in PETS_M:
        gender = "m"
    hero = person(rng, gender, kind, name)
    if fkind:
        pass
    elif hero["child"]:
        fkind = rng.choice(["girl", "boy"]) if rng.random() < 0.5 else rng.choice(sorted(ANIMALS))
    else:
        fkind = rng.choice([a for a in sorted(ANIMALS) if a != kind])
    friend = person(rng, None, fkind, taken=(hero["n"],))
    env = dict(hero)
    env.update({"f" + k: v for k, v in friend.items()})
    env["fHe"], env["fHis"] = friend["he"].capitalize(), friend["his"].capitalize()
    trait = rng.choice(sorted(TRAITS))
    env["trait"] = trait
    env["ftrait"] = rng.choice([t for t in sorted(TRAITS) if t != trait])
    if hero["child"]:
        env["home"], env["area"] = expand(CHILD_HOME, rng), "village"
        env["food0"] = rng.choice(["apples", "pancakes", "soup", "bread", "berries"])
    else:
        home, env["food0"] = ANIMALS[kind]
        env["home"] = expand(home, rng)
        env["area"] = {FOREST: "forest", HOUSE: "street", POND: "pond", FARM: "farm",
                       JUNGLE: "jungle"}.get(home, "land")
    env["area"] = {"pond": "valley", "street": "town"}.get(env["area"], env["area"])
    env["fd"] = friend["n"] if friend["child"] else "[fn] the [fkind]"
    env["fa"] = ("a [fkind] named [fn]" if friend["child"]
                 else "a %s[fkind] named [fn]" % rng.choice(["little ", "small ", "young ", "", "friendly "]))
    env["mum"] = rng.choice(["mother", "father", "grandmother", "grandfather"])
    mum_f = "mother" in env["mum"]
    env["mhe"], env["mhim"] = ("she", "her") if mum_f else ("he", "him")
    env["mhis"] = "her" if mum_f else "his"
    env["color"] = rng.choice(COLORS)
    env["color2"] = rng.choice([c for c in COLORS if c != env["color"]])
    env["toy"] = rng.choice(TOYS)
    env["food"] = rng.choice(["cake", "pie", "loaf of bread", "pot of soup", "jar of honey", "basket of berries",
                              "bag of nuts", "jar of jam", "plate of cookies", "basket of apples"])
    env["short"] = env["food"].split()[-1]
    env["them"] = "them" if env["short"] in ("berries", "nuts", "cookies", "apples") else "it"
    env["they"] = "they" if env["them"] == "them" else "it"
    env["were"] = "were" if env["them"] == "them" else "was"
    env["plant"] = rng.choice(FLOWERS)
    env["baby"] = rng.choice("kitten puppy duckling lamb bird mouse bunny".split())
    env["hobby"] = expand(HOBBIES, rng)
    return env


INTRO_FIRST = [
    "Once upon a time, there was a [adj] [kind] named [n].",
    "Once upon a time, there was a [adj] [kind] named [n] who lived [home].",
    "Once upon a time, a [adj] [kind] named [n] lived [home].",
    "Once upon a time, in a {land|place} far away, there lived a [adj] [kind] named [n].",
    "Once upon a time there was a [adj] [kind] called [n].",
    "Once upon a time, {there was|there lived} a [kind] who loved to [hobby]. [His] name was [n].",
]
INTRO_OTHER = [
    "There was once a [adj] [kind] named [n].",
    "Long ago, a [adj] [kind] named [n] lived [home].",
    "[n] was a [adj] [kind] who lived [home].",
    "[n] was a [adj] [kind].",
    "One {sunny|warm|cold|bright|windy} {morning|day}, a [adj] [kind] named [n] {woke up early|went for a walk|looked out of the window}.",
    "In a {quiet|green|faraway} {valley|place} there lived a [adj] [kind] named [n].",
    "It was a {sunny|quiet|bright|windy} day, and a [adj] [kind] named [n] was {happy|up early|full of ideas}.",
    "It was long ago that a [adj] [kind] named [n] lived [home].",
    "The [adj] [kind] lived [home]. [His] name was [n].",
    "This is the story of a [kind] named [n].",
    "A [adj] [kind] named [n] lived [home].",
    "Every morning, a [adj] [kind] named [n] {sang a little song|opened [his] eyes and smiled|went to look at the sun}.",
]


def intro(rng, env, once):
    adjs = ["[trait]", "little", "very [trait]"]
    if env["trait"] not in ("small", "young"):
        adjs += ["[trait] little", "young"]
    env["adj"] = rng.choice(adjs)
    first = rng.choice(INTRO_FIRST if once else INTRO_OTHER)
    out = [first]
    named_day = first.startswith("One ") or first.startswith("It was a ")
    env["day"] = expand("{That day|Later that day|A little later|Not long after}" if named_day else
                        "{One day|One morning|One sunny day|One afternoon|One fine day}", rng)
    lived = "home" in first
    hobby = "hobby" in first
    if not lived and rng.random() < 0.7:
        out.append("{[He] lived [home].|[n] lived [home].}" if rng.random() < 0.6 or env["child"] is False
                   else "[He] lived [home] with [his] [mum].")
    if rng.random() < 0.6:
        if "trait" in first + env["adj"] or rng.random() < 0.4:
            pre = "" if "[trait]" in env["adj"] else "[n] was {very |}[trait]. "
            out.append(pre + TRAITS[env["trait"]])
    if not hobby and rng.random() < 0.6:
        out.append("{[He] loved to [hobby].|More than anything, [he] loved to [hobby].|[n] loved to [hobby], and [he] loved to eat [food0].}")
    if rng.random() < 0.25:
        out.append("{[His] best friend was [fa].|[n] had a good friend, [fa].}")
        env["known"] = True
    else:
        env["known"] = False
    return out


# --- Plots. Each returns a list of paragraphs (lists of templates) and a moral.

DAY = "[day]"  # set by intro(): "One day", or "That day" where a day was named
MEET = "{[n] met [fd]|[fd] came by|[he] saw [fd]}"
SAYHI = "{\"What is wrong?\" asked [fn].|\"Why do you look so sad?\" asked [fn].|\"Can I help you?\" asked [fn].}"


def friend_in(env):
    """How the friend first enters a scene."""
    if env["known"]:
        return "{Just then, [fn] came by.|[n] went to see [fn].|Soon [fn] came to visit.}"
    return "{Just then, [fa] came by.|On the way, [n] met [fa].|Then [n] saw [fa] {under a tree|by the road|near the water}.}"


def lost_toy(r, e):
    places = ["under the bed", "behind the door", "in the garden", "by the river", "under the big tree",
              "in the tall grass", "near the old wall", "on the hill", "behind the barn"]
    e["p1"], e["p2"], e["p3"] = r.sample(places, 3)
    return [[
        "[n] had a [color] [toy]. {It was [his] favorite thing in the whole world.|[He] took it everywhere.|[His] [mum] had given it to [him].}",
        DAY + ", the [toy] was gone. {[n] was very sad.|[n] felt like crying.|\"Oh no!\" said [n]. \"Where is my [toy]?\"}",
    ], [
        "[He] looked [p1], but it was not there. [He] looked [p2], but it was not there {either|}.",
        friend_in(e), SAYHI,
        "\"I lost my [color] [toy],\" said [n]. {\"I can not find it.\"|\"I have looked everywhere.\"|}",
        "\"{Do not worry|Do not cry|Cheer up},\" said [fn]. \"{I will help you|Let us look together|We will find it}.\"",
    ], [
        "They looked [p3], and there it was! {The [color] [toy] was a little dirty, but it was not broken.|The wind had carried it there.|It was shining in the sun.}",
        "{\"Thank you, [fn]!\" said [n].|[n] {hugged|thanked} [fn] with all [his] heart.} {They played together until the sun went down.|From then on, they shared the [toy] and played with it every day.|That night, [n] slept with the [toy] by [his] side.}",
    ]], "friend"


def rainy_day(r, e):
    e["make"] = r.choice(["a fort out of blankets", "a ship out of an old box", "a castle out of pillows",
                          "a band with pots and spoons", "a little theater with paper dolls"])
    e["thing"] = {"fort": "fort", "ship": "ship", "castle": "castle", "band": "band", "little": "theater"}[e["make"].split()[1]]
    return [[
        DAY + ", [n] wanted to go {to the park|to the river|to the hills}. But {dark clouds came|the sky turned gray}, and it began to rain. {It rained and rained.|The rain fell on the roof all day.}",
        "\"{Now I can not play outside|This is a very boring day},\" said [n] with a {sad face|sigh}.",
    ], [
        friend_in(e).replace("Then [n] saw [fa] {under a tree|by the road|near the water}.", "There was a knock at the door. It was [fa].").replace("On the way, [n] met [fa].", "Then [fa] knocked at the window."),
        "[fHe] was wet from ears to toes. \"{May I come in?|Can I stay here until the rain stops?}\" [fhe] asked.",
        "\"Of course!\" said [n]. Then [he] had an idea. \"Let us make [make]!\"",
        "They worked {all morning|for a long time|and laughed}. It was the best [thing] {in the world|they had ever seen}. {They forgot all about the rain.|They played and told each other stories.}",
    ], [
        "When they looked up, the rain had stopped. {A big rainbow stood over the [area].|The sun came out, and a rainbow filled the sky.}",
        "\"{I like rainy days now|Maybe rain is not so bad},\" said [n], and [fn] {smiled|laughed|agreed}.",
    ]], "friend"


def sharing(r, e):
    return [[
        DAY + ", [n] had a [food]. {It smelled so good.|[He] had waited for this all week.|[His] [mum] had made [them] just for [him].}".replace("It smelled so good.", "[They] smelled so good." if e["they"] == "they" else "It smelled so good."),
        "[n] sat down {under a tree|on a big stone|in the sun} and wanted to eat [them] all alone.",
    ], [
        friend_in(e).replace("On the way, [n] met [fa].", "Then [fa] came along the road.").replace("[n] went to see [fn].", "Then [fn] came along the road."),
        "[fHe] looked at the [short]. \"I am so hungry,\" said [fn]. \"I have not eaten {all day|since yesterday}.\"",
        "[n] looked at the [short]. {[He] wanted to keep [them].|There was not very much.} But then [he] looked at [fn] and felt sorry for [fhim].",
        "\"Here,\" said [n]. \"{Take half|You can have half|Let us share}.\"",
    ], [
        "They ate together and {talked about many things|laughed a lot|watched the clouds}. {[n] was surprised.|It was strange.} The [short] tasted even better than before!",
        "{The next day, [fn] came back with a big basket of fruit. \"This is for you,\" [fhe] said. \"You were so kind to me.\"|When they were done, [fn] showed [n] a secret place full of flowers.|After that day, they ate lunch together every day.}",
    ]], "share"


def brave_rescue(r, e):
    e["spot"], e["how"] = r.choice([
        ("high up in a tree", "climbed up, one branch at a time"),
        ("on a stone in the middle of the river", "jumped from stone to stone"),
        ("at the bottom of a deep hole", "tied a rope to a tree and went down"),
        ("on the roof of the old barn", "climbed up the long ladder"),
        ("in a dark cave", "took a small light and went inside")])
    return [[
        DAY + ", [n] heard a tiny voice. \"Help! Help!\" It was a baby [baby]. The [baby] was stuck [spot] and {could not get back|was very scared|was crying}.",
        "[n] was {scared too|afraid}. {[His] legs shook.|[His] heart beat fast.|It looked very dangerous.} \"{But if I do not help, who will?|I must do something,}\" [he] thought.",
    ], [
        "[n] took a deep breath. [He] [how]. {Slowly, slowly, [he] came closer.|[He] did not look down.|The wind blew, but [he] did not stop.}",
        "\"Do not be afraid,\" [he] said to the [baby]. \"{Hold on to me|I am here now|I will take you home}.\"",
        "The [baby] {held on tight|stopped crying}. Together they went back, {step by step|very carefully}, until they were safe.",
    ], [
        "{Everyone in the [area] heard about it.|Soon the mother of the [baby] came running.|The [baby] gave [n] a big kiss on the nose.} \"{You are so brave|You are a hero}, [n]!\" {they all said|said the [baby]|said [fd], who had seen it all}.",
        "[n] {smiled|blushed}. \"I was very scared,\" [he] said, \"but I {did it anyway|am glad I helped}.\"",
    ]], "brave"


def new_friend(r, e):
    e["known"] = False
    return [[
        "But [n] was {lonely|often sad}. {[He] had no one to play with.|All the others were too busy to play.} {Every evening [he] wished for a friend.|[He] talked to the moon, but the moon never answered.}",
        DAY + ", [fa] moved into the house next door." if e["child"] else DAY + ", [fa] came to live {in the same place|nearby}.",
    ], [
        "[n] wanted to say hello, but [he] did not know how. {What if [fn] did not like [him]?|[He] hid behind a bush and watched.}",
        "Then [n] had an idea. [He] {picked some flowers|found a pretty stone|drew a picture|took [his] [color] [toy]} and went to [fn].",
        "\"Hello,\" said [n] in a {small|soft} voice. \"{This is for you|I have a gift for you}. {Do you want to play?|Would you like to be my friend?}\"",
    ], [
        "[fn] smiled a big smile. \"{Yes, please!|I would love that!}\" [fhe] said. \"I {was lonely too|did not know anyone here|was hoping you would ask}.\"",
        "{They played until it was dark.|They ran to the hill and rolled down again and again.|They talked and talked until the stars came out.} From that day on, [n] {was never lonely again|had a friend}.",
    ]], "friend"


def garden(r, e):
    return [[
        DAY + ", [n] found a {small|strange|tiny} seed {on the road|in [his] pocket|in the grass}. \"{What will it become?|I will plant it}\" [he] said.".replace("plant it}\"", "plant it,}\"").replace("{What will it become?|I will plant it,}", r.choice(["What will it become?", "I will plant it and see what comes,"])),
        "[He] made a little hole in the ground, put the seed inside, and gave it some water.",
    ], [
        "The next day, [n] ran to look. There was nothing. {[He] gave it water again.|[He] sang it a song.} The day after, there was still nothing.",
        friend_in(e),
        "\"Nothing grows here,\" said [n]. \"{Maybe it is a bad seed|I think I will give up}.\"",
        "\"{Be patient|You must wait a little longer},\" said [fn]. \"{Seeds need time|Good things grow slowly}.\"",
        "So [n] waited. Every morning [he] brought water, and {every evening [he] said good night to the seed|the sun gave it light}.",
    ], [
        "Then, one morning, a small green leaf came out of the ground! It grew and grew, and {soon|at last} it was a beautiful [plant].",
        "\"{We did it|Look|It is here}!\" {cried|shouted} [n]. {Everyone came to see the [plant].|[n] and [fn] danced around it.} {It was the biggest [plant] in the [area].|[n] had never been so proud.}",
    ]], "wait"


def baking(r, e):
    e["cake"] = r.choice(["cake", "pie", "apple pie", "honey cake", "berry pie"])
    e["miss"] = r.choice(["eggs", "milk", "sugar", "butter", "flour"])
    return [[
        "It was the birthday of [his] [mum], and [n] wanted to bake a [cake]. {[He] put on a [color] apron.|[He] had never baked anything before.}",
        "But when [he] looked in the kitchen, there was no [miss]! \"{How can I bake a [cake] without [miss]?|What shall I do now?}\" said [n].",
    ], [
        "So [n] went to [fd]. \"Do you have some [miss]?\" [he] asked.",
        "\"Yes, I do,\" said [fn]. \"{May I help you bake?|Can I come and help?}\"",
        "Together they {mixed and stirred|worked in the kitchen}. There was flour {on the floor, on the table, and on their noses|everywhere}. {They laughed and laughed.|Soon the whole house smelled sweet.}",
    ], [
        "At last the [cake] was done. It was {a little crooked|not very pretty|big and round}, but it {smelled wonderful|tasted very good}.",
        "\"Happy birthday!\" {they called|said [n]}. [His] [mum] was {so happy|very surprised}. \"This is the best [cake] I have ever had,\" [mhe] said, and gave {them both|[n]} a big hug.",
    ]], "help"


def moon_trip(r, e):
    e["who"] = r.choice(["a white mouse", "a small silver rabbit", "an old man with a long beard", "a round little robot", "a sleepy star"])
    e["who2"] = e["who"].split()[-1] if "man" not in e["who"] else "old man"
    return [[
        "Every night, [n] looked at the moon. \"{I want to go there,|What is it like up there?|One day I will visit you,}\" [he] said.",
        "So [n] took {a big box|some old pots|a big basket}, {three balloons|two wheels|a lot of paper}, and a [color] {blanket|flag}, and built a rocket. \"Three, two, one, go!\" [he] {shouted|called}. And up it went!",
    ], [
        "The rocket flew over the {roofs|trees|hills}, through the clouds, and past the stars. {The world below was as small as a button.|It was quiet and full of light.} At last it landed on the moon {with a soft bump|very gently}.",
        "There [n] met [who]. \"Welcome!\" said the [who2]. \"{No one ever comes to visit me|I have been alone for a long time}. {Would you like some moon cheese?|Will you have tea with me?}\"",
        "They {ate and talked|jumped higher than the trees|played hide and seek behind the moon rocks}. {It was the best night ever.|[n] could jump so high that [he] almost flew away.}",
    ], [
        "But soon [n] {grew tired|missed [his] bed|wanted to go home}. \"{Come back soon|Thank you for coming},\" said the [who2], and gave [him] a small {shining stone|piece of moonlight|silver star}.",
        "In the morning, [n] woke up in [his] own bed. Was it a dream? [He] looked {at the table|under the pillow|by the window}. There it was, {shining softly|the gift from the moon}.",
    ]], "home"


def dark_night(r, e):
    e["light"] = r.choice(["a tiny firefly", "an old owl", "a small gray moth", "the round moon"])
    e["lt"] = e["light"].split()[-1]
    return [[
        "There was only one problem. [n] was afraid of the dark. {Every night [he] hid under the blanket.|At night, every shadow looked like a monster.|[He] never wanted to go to bed.}",
        "One night, [he] saw two big eyes {by the window|in the corner}. \"{Who is there?|Who are you?}\" {asked|cried} [n] in a small voice.",
    ], [
        "\"It is only me,\" said [light]. \"Why are you not asleep?\"" if e["lt"] != "moon" else "\"It is only me,\" said the round moon through the window. \"Why are you not asleep?\"",
        "\"I am afraid of the dark,\" said [n].",
        "\"But the dark is {beautiful|my friend|soft like a blanket},\" said the [lt]. \"Come, I will show you.\"",
        "They looked outside. {The stars were shining like tiny lamps.|The flowers were asleep, and the wind was singing.} {The grass was silver.|Everything was calm.} \"{In the dark you can see the stars|Without the dark there would be no stars},\" said the [lt].",
    ], [
        "[n] {looked for a long time|smiled}. \"It is not scary at all,\" [he] {said|whispered}. [He] went back to bed and closed [his] eyes.",
        "{From that night on, [n] was not afraid anymore.|And soon [he] was fast asleep.}",
    ]], "brave"


def race(r, e):
    return [[
        "Every year there was a big race in the [area]. {[n] had practiced every day.|[n] wanted to win more than anything.} The prize was a {golden cup|big cake|[color] ribbon}.",
        "\"I will win,\" said [fd]. \"{I am the fastest of all|Nobody can beat me}.\"",
    ], [
        "\"Ready, set, go!\" Everyone ran {as fast as they could|through the grass and over the hill}. {[fn] was first, and [n] was right behind.|[n] and [fn] ran side by side.}",
        "Then [fn] {fell over a stone|slipped in the mud} and cried, \"Ouch! {My leg hurts!|My foot!}\"",
        "[n] saw the finish line. {It was very near.|[He] could win now!} But [he] stopped, turned around, and went back. \"{Lean on me|Take my hand|I will help you},\" [he] said." if e["child"] and e["fchild"] else
        "[n] saw the finish line. {It was very near.|[He] could win now!} But [he] stopped, turned around, and went back. \"{Lean on me|I will help you},\" [he] said.",
    ], [
        "Together they crossed the line, {last of all|very slowly}. But everyone {cheered and clapped|stood up and cheered}.",
        "\"{You could have won|Why did you stop?},\" said [fn].".replace("?}", "}").replace("Why did you stop", "You stopped for me"),
        "\"{A friend is more important than a prize|It is more fun to finish together},\" said [n]. {And the two shared the prize.|They were best friends ever after.}",
    ]], "kind"


def treasure(r, e):
    inside = r.choice([("an old book full of stories", "book"), ("a little golden bell", "bell"), ("a hundred shiny buttons", "buttons"),
                       ("a letter", "letter"), ("a silver flute", "flute"), ("seeds of every color", "seeds")])
    e["inside"] = inside[0]
    e["a1"], e["a2"], e["a3"] = r.sample(["the crooked tree", "the old bridge", "the blue lake", "the big rock", "the windmill",
                                          "the dark cave", "the tall hill", "the waterfall"], 3)
    return [[
        DAY + ", [n] found an old map {in a bottle|in a book|under the floor|behind a picture}. There was a big red cross on it. \"A treasure!\" {cried|said|shouted} [n].",
        "[He] showed the map to [fd]. \"Let us go and find it,\" said [fn].",
    ], [
        "First they walked to [a1]. Then they {walked|ran|went} past [a2]. At last they came to [a3].",
        "\"{Here it is|This must be the place|We have to dig here},\" said [n]. They dug and dug {until their arms were tired|for a long time}. Then they {hit|found} something hard. It was a box!",
    ], [
        "[n] opened the box {slowly|at once|very carefully}. Inside was [inside]. " + {
            "book": "They sat down and read until the sun went down.",
            "bell": "When [n] rang it, all the birds began to sing.",
            "buttons": "They shone in the sun like little stars.",
            "letter": "It said, \"The real treasure is the friend who came with you.\"",
            "flute": "[n] played a song, and [fn] danced.",
            "seeds": "They planted them, and soon the whole [area] was full of flowers."}[inside[1]],
        "{It was not gold, but they did not mind.|\"This is better than gold,\" said [fn].|[n] and [fn] went home happy and tired.}",
    ]], "friend"


def sick_friend(r, e):
    e["soup"] = r.choice(["a pot of hot soup", "a jar of honey", "some warm tea", "a basket of oranges", "a bowl of sweet berries"])
    return [[
        ("[n] played with [fn] every day." if e["known"] else "[n] had a friend, [fa]. They played together every day."),
        "But one day, [fn] did not come. {[n] waited and waited.|[n] looked everywhere.} \"[fn] is sick,\" said [his] [mum]. \"[fHe] must stay in bed.\"",
    ], [
        "[n] was worried. \"{How can I help?|What can I do for my friend?}\" [he] thought. Then [he] took [soup] and a [color] {flower|book|balloon} and went to see [fn].",
        "[fn] was in bed and {looked very tired|looked pale}. When [fhe] saw [n], [fhe] smiled a little.",
        "[n] {told a funny story|sang a song|read from a book|made silly faces} until [fn] {began to laugh|felt a bit better}. \"{You are the best medicine|I feel better already},\" said [fn].",
    ], [
        "[n] came back every day. {After a week|On the third day|Soon}, [fn] {was well again|could jump out of bed}. They {ran out into the sun|went to the park} and played {all day|until evening}.",
    ]], "kind"


def snow_day(r, e):
    e["nose"] = r.choice(["a carrot", "a red apple", "a stone", "a nut"])
    return [[
        "{One winter morning|One cold morning}, [n] looked outside. Everything was white. \"Snow! Snow!\" {shouted|cried} [n] and ran out{ without a hat|}.",
        friend_in(e),
        "\"Let us make a snowman,\" said [fn]. They rolled a big ball, then a smaller one, and then a tiny one. They gave the snowman two stones for eyes and [nose] for a nose.",
    ], [
        "\"{He looks cold|He has no hat},\" said [n]. So [he] gave the snowman [his] own [color] {scarf|hat}. {The snowman looked very happy.|Now the snowman was perfect.}",
        "{They threw snowballs and laughed.|They went down the hill again and again.} When their {noses|feet} were cold, they went inside and drank hot {milk|cocoa} by the fire.",
    ], [
        "That night, [n] looked out of the window. The snowman {was looking at the moon|stood in the moonlight}, and it seemed to [n] that he {waved|smiled at [him]}. {\"Good night,\" whispered [n].|[n] waved back.}",
    ]], "friend"


def birthday(r, e):
    return [[
        "It was [n]'s birthday. [He] woke up early and {jumped out of bed|ran outside}. But nobody said a word. {Nobody sang.|There was no cake.}",
        "[n] went to [fd]. \"Do you know what day it is?\" [he] asked. \"{Yes, it is Monday|I do not know|No, and I am very busy},\" said [fn] and {ran away|closed the door|went away}.",
    ], [
        "[n] was very sad. \"{Everyone forgot my birthday|Nobody thinks of me},\" [he] said. [He] walked {alone to the river|slowly through the [area]} and {sat down on a stone|looked at the water|kicked a little stone}.",
        "When the sun went down, [he] went home. It was dark inside. [n] opened the door, and then...",
    ], [
        "\"Surprise!\" All [his] friends were there! {There were balloons in every color.|There were lights everywhere.} There was a big [color] cake, and [fn] held a {gift|box with a ribbon}.",
        "\"{Did you really think we forgot?\"|We could never forget you,\"} said [fn] with a laugh. [n] {laughed too|was so happy that [he] cried a little}. {They danced all night.|It was the best birthday ever.}",
    ]], "friend"


def lost_in_woods(r, e):
    e["guide"] = r.choice(["owl", "deer", "firefly", "snail", "crow"])
    return [[
        DAY + ", [n] followed a [color] butterfly into the {deep forest|dark woods}. {It flew over flowers and under leaves.|[He] ran and ran after it.} When [n] stopped, [he] did not know where [he] was.",
        "{The trees were tall and dark.|It was getting late.} \"{Which way is home?|I am lost},\" said [n], and a tear ran down [his] {nose|cheek}.".replace("home?|", "home|").replace("Which way is home", "I do not know the way home"),
    ], [
        "\"{Why are you crying?|Are you lost?}\" asked a soft voice. It was an old [guide].",
        "\"I can not find the way home,\" said [n].",
        "\"{Do not be afraid|Follow me},\" said the [guide]. \"{I know every tree here|I know the way}. {Look at the brightest star. It shines over your home.|We only have to follow the stream.}\"",
        "So they went together, past the {sleeping flowers|old stones}, over the {little bridge|hill}, {and through the tall grass|step by step}.",
    ], [
        "At last [n] saw a light. It was home! [His] [mum] stood {at the door|outside} with a lamp. \"{There you are|I was so worried},\" [mhe] said and hugged [him].",
        "[n] turned around to thank the [guide], but {it was already gone|the forest was quiet|it had gone back to the trees}. {[n] never forgot that night.|[n] waved into the dark.}",
    ]], "home"


def magic_wish(r, e):
    e["magic"] = r.choice(["stone", "lamp", "shell", "key", "feather", "ring"])
    e["wish1"] = r.choice(["a mountain of cake", "a very big castle", "a room full of toys", "a crown of gold"])
    e["bad"] = {"a mountain of cake": "[He] ate so much that [his] tummy hurt.", "a very big castle": "But it was cold and empty, and [n] got lost in it.",
                "a room full of toys": "But there was no one to play with.", "a crown of gold": "But it was so heavy that [his] head hurt."}[e["wish1"]]
    return [[
        DAY + ", [n] found a [color] [magic] {on the beach|by the river|in the grass|under a tree}. When [he] {touched|cleaned} it, it began to {shine|glow}. \"You have two wishes,\" said a {tiny|deep} voice. \"Think well!\"",
        "\"I wish for [wish1]!\" said [n] {at once|without thinking}. And there it was. [bad]",
    ], [
        friend_in(e),
        "[fn] {looked sad|was crying}. \"{My house was blown away by the wind|I have lost my home|My mother is sick}\" [fhe] said.".replace("}\"", "},\""),
        "[n] thought for a long time. [He] had only one wish left. {Then [he] knew what to do.|[He] looked at [fn] and smiled.} \"I wish that [fn] may be happy again,\" [he] said.",
    ], [
        "The [magic] {shone one last time|gave a bright light}, and {all was well|[fn] began to smile}. \"{You are the best friend in the world|How can I ever thank you},\" said [fn].",
        "[n] had no more wishes, but [he] was {happier than ever|not sad at all}.",
    ]], "kind"


def boat_trip(r, e):
    e["isl"] = r.choice(["full of parrots", "full of sweet fruit", "made of white sand", "with a tall mountain", "full of friendly crabs"])
    return [[
        "[n] built a small boat out of {wood|an old box|an old barrel} and painted it [color]. \"{Who will come with me?|I am going to see the world,}\" [he] said.".replace("me?|", "me?|"),
        "\"{I will|I want to come}!\" said [fd]. So they took {bread and cheese|some apples|a big bag of nuts} and sailed {down the river|away over the blue water}.",
    ], [
        "At first {the sun was shining|the water was calm}. Then the wind blew harder and harder, and the waves grew {as tall as houses|bigger and bigger}. \"Hold on!\" {cried|shouted} [n].",
        "{The boat went up and down, up and down.|They were wet and cold.} But [n] did not let go, and [fn] {sang a song to keep them brave|held the sail}.",
    ], [
        "When the storm was over, they saw an island [isl]. {They stayed for three days and ate and swam.|They danced on the beach and slept under the stars.}",
        "Then they sailed home. {Everyone wanted to hear the story.|Their friends were waiting for them.} \"{Were you not afraid?|Was it dangerous?}\" they asked. \"A little,\" said [n], \"but we were together.\"",
    ]], "friend"


def broken_cup(r, e):
    e["cup"] = r.choice(["cup", "bowl", "lamp", "clock", "plate", "vase"])
    return [[
        DAY + ", [n] was {playing ball|dancing|running} inside the house. Crash! The [color] [cup] fell to the floor and broke. It was the favorite [cup] of [his] [mum].",
        "[n] was {scared|afraid}. \"{Nobody saw it|I could hide it},\" [he] thought. So [he] put the pieces {under the bed|in a box|behind the door}.",
    ], [
        "But [n] could not {play|eat|sleep}. {[His] heart was heavy like a stone.|[He] thought about it all day.}",
        "[He] told [fd] about it. \"{Tell the truth|You should say what happened},\" said [fn]. \"{You will feel better|It is the right thing to do}.\"",
        "So [n] took the pieces and went to [his] [mum]. \"I broke your [cup],\" [he] said. \"I am very sorry.\"",
    ], [
        "[His] [mum] {was quiet for a moment|looked at the pieces}. Then [mhe] smiled. \"{A [cup] can be fixed|It is only a [cup]},\" [mhe] said. \"{I am glad you told me|You were brave to tell me}.\"",
        "Together they glued the pieces. {The [cup] had many lines now, but [n] thought it was even prettier.|That night, [n] slept very well.}",
    ]], "truth"


def learning(r, e):
    e["skill"], e["fail"], e["done"] = r.choice([
        ("swim", "[he] got water in [his] nose", "[he] swam all the way across"),
        ("ride a bike", "[he] fell into a bush", "[he] rode all the way down the road"),
        ("whistle", "only air came out", "a clear, sweet sound came out"),
        ("skate", "[he] fell on the ice", "[he] went round and round on the ice"),
        ("dance", "[he] stepped on [his] own feet", "[he] danced like a leaf in the wind"),
        ("juggle", "all the balls fell down", "five balls flew through the air"),
        ("bake bread", "the bread was as hard as a stone", "the bread was soft and warm")])
    return [[
        "All [his] friends could [skill], but [n] could not. {That made [him] sad.|[He] wanted to learn it very much.}",
        DAY + ", [he] tried, but [fail]. [He] tried again, but [fail]. \"I will never learn it,\" said [n].",
    ], [
        friend_in(e),
        "\"{When I was little, I could not do it either|It took me a whole year to learn it},\" said [fn]. \"{You must try a little every day|Do not give up}. I will {show you|help you}.\"",
        "So they practiced every day. {On Monday it was hard. On Tuesday it was a little better.|Sometimes it went well, and sometimes it did not.} [n] {did not give up|kept trying}.",
    ], [
        "And then, one {fine|sunny|bright} morning, it worked: [done]! \"{I can do it|Look at me|I did it}!\" {shouted|cried|called} [n].",
        "[fn] clapped {and cheered|with joy}. {[n] was so proud.|Now [n] could [skill] better than anyone.}",
    ]], "try"


def big_noise(r, e):
    e["noise"], e["what"] = r.choice([
        ("Bump! Bump! Bump!", "a little hedgehog with its head stuck in a pot"),
        ("Scratch, scratch, scratch!", "a tiny kitten that wanted to come in"),
        ("Tap, tap, tap!", "a branch that the wind moved against the window"),
        ("Boo! Hoo! Hoo!", "a baby owl that had fallen from its nest"),
        ("Crunch, crunch, crunch!", "a small mouse eating a very big cookie"),
        ("Squeak! Squeak!", "an old wheel that turned in the wind")])
    return [[
        "One night, [n] heard a strange noise. \"[noise]\" {It came from the kitchen.|It came from outside.|It came from behind the door.} [n] {sat up in bed|opened [his] eyes}.",
        "\"{Is it a monster?|Is it a ghost?}\" [he] thought. [He] {hid under the blanket|held [his] breath}. \"[noise]\" There it was again!",
    ], [
        "[n] {took a lamp|took a deep breath} and went to wake [fd]. \"{Did you hear that?|There is a monster,}\" {whispered|said} [n]." if e["known"] else "[n] {took a lamp|took a deep breath} and {walked slowly to the door|got out of bed}. \"{Who is there?|Hello?}\" [he] {whispered|asked}. Nobody answered.",
        "{Step by step|Very slowly}, {[he] came closer|[he] followed the noise}. [His] heart went boom, boom, boom. " if not e["known"] else "{Step by step|Very slowly}, they followed the noise. Their hearts went boom, boom, boom. ",
    ], [
        "And what was it? It was only [what]! [n] {laughed and laughed|had to laugh}. \"{And I thought you were a monster|I was so silly}!\" [he] said.",
        "Then [he] went back to bed and {slept until morning|dreamed of funny things|slept very well}.",
    ]], "brave"


def fallen_star(r, e):
    return [[
        "One night, [n] saw a star fall from the sky. It landed {in the garden|in the grass|in the pond} with a little {splash|plop}. [n] ran to look.".replace("{splash|plop}", r.choice(["plop", "sound"])),
        "The star was small and {cold|shy}. \"I want to go home,\" it {cried|said}. \"My {brothers and sisters are up there|family is all up there|mother is waiting for me}.\"",
    ], [
        "\"I will help you,\" said [n]. First [he] {climbed the tallest tree|stood on the roof}, but it was not high enough. Then [he] {threw the star up|jumped} as high as [he] could, but the star fell down again.",
        friend_in(e),
        "\"{I have an idea|I know what to do},\" said [fn]. \"{Let us tie the star to a kite|Let us tie the star to a balloon|Let us ask the wind}.\"",
    ], [
        "And it worked! {Up and up went the star|Higher and higher it flew}, until it was {back in its place|home again}. \"Thank you!\" it called, and it shone brighter than {all the others|ever before}.",
        "Every night after that, [n] and [fn] looked up, and the little star {winked at them|sent them a bit of light}.",
    ]], "help"


def kite(r, e):
    return [[
        DAY + ", the wind was strong. [n] took [his] [color] kite and ran to the hill. {The kite flew higher than the birds.|Up, up, up it went.}",
        "Then the string broke, and the kite flew into a very tall tree. \"{My kite!|Oh no!}\" cried [n]. [He] jumped, but [he] could not reach it.",
    ], [
        friend_in(e), SAYHI,
        "\"My kite is in the tree,\" said [n]. \"{I am too small to reach it|It is too high for me}.\"",
        "\"{Stand on my back|Climb on my shoulders},\" said [fn]. But it was still too high. Then {a bird|a squirrel|a monkey} came along. \"{I can climb|I can help},\" it said, \"{wait here|that is easy for me}.\"",
    ], [
        "In a moment the kite was down. {It had a small hole, but [n] fixed it with a leaf.|It was not even broken.} \"Thank you all!\" said [n].",
        "{They flew the kite together until evening.|Everyone had a turn with the kite.} {It was a wonderful day.|The kite danced in the sky like a [color] bird.}",
    ]], "help"


def lost_baby(r, e):
    return [[
        DAY + ", [n] heard someone cry. Behind a {bush|stone|tree} sat a baby [baby]. \"I can not find my mother,\" said the [baby].",
        "\"{Do not cry|Do not worry},\" said [n]. \"We will find her. What does she look like?\"",
        "\"She is {very big|very soft|very beautiful},\" said the [baby], \"and she {sings the best songs|tells the best stories|gives the best hugs}.\"",
    ], [
        "They asked {a snail|a bee|an old goat}. \"{I have not seen her|No, I am sorry},\" it said. They asked [fd]. \"{I saw her by the river|I saw her near the bridge|I saw her in the big field},\" said [fn]. \"She was looking for someone.\"",
        "So [n] took the [baby] {by the hand|on [his] back} and ran. {The [baby] was heavy, but [n] did not stop.|They ran as fast as they could.}" if e["child"] else "So [n] took the [baby] on [his] back and ran. {The [baby] was heavy, but [n] did not stop.|They ran as fast as they could.}",
    ], [
        "\"Mother!\" {cried|called} the [baby]. And there she was! She {hugged her little one|cried with joy}. \"Thank you for bringing my child home,\" she said to [n]. \"{You will always be our friend|You have a good heart}.\"",
        "[n] walked home with a {warm heart|big smile}. {[He] gave [his] own [mum] a very big hug.|It had been a good day.}",
    ]], "kind"


def market(r, e):
    e["goods"] = r.choice(["a little bell", "a pair of warm gloves", "a new hat", "a sweet cake", "a toy boat", "a wooden flute"])
    return [[
        DAY + ", [n] got a shiny coin from [his] [mum]. \"{You can buy what you like|Go to the market and buy something nice},\" [mhe] said. {[n] was very excited.|[n] ran all the way to the market.}",
        "There were so many things to see! There were {red apples and yellow pears|hats and shoes|bells and toys}, and there were {cakes and cookies|flowers of every color|birds that could sing}. [n] wanted to buy [goods].",
    ], [
        "Then [he] saw [fd] {in a corner|by the gate}. [fn] {looked cold and hungry|had lost all [fhis] money|was crying because [fhis] basket was empty}.",
        "[n] thought of [goods]. Then [he] looked at the coin. {[He] thought for a while.|It was not easy.} \"{Come|Come with me},\" [he] said to [fn]. \"{Let us buy some hot soup|I will buy you some bread}.\"",
    ], [
        "They sat in the sun and ate. {\"This is the best soup of my life,\" said [fn].|[fn] smiled for the first time that day.|Soon they were laughing.}".replace("best soup", "best meal"),
        "[n] went home without [goods], but [he] had {found a friend|made a friend}, and {that was worth more than a coin|that made [him] very happy}.",
    ]], "share"


def music(r, e):
    e["ins"] = r.choice(["drum", "flute", "violin", "trumpet", "guitar"])
    return [[
        "[n] had an old [ins]. Every day [he] played it, but {it sounded terrible|nobody wanted to listen}. \"{Please stop|My ears hurt},\" said the others.",
        "So [n] took the [ins] and went {to the hill|to the river|far away}, where nobody could hear [him]. There [he] played every day, {in the sun and in the rain|from morning to night}.",
    ], [
        DAY + ", [fd] heard the music. {It was soft and sweet.|It was like the song of a bird.} \"Who plays so beautifully?\" asked [fn].",
        "\"It is only me,\" said [n]. \"{Please do not laugh|I am not very good}.\"",
        "\"Not good? {It is wonderful!|It makes me want to dance!}\" said [fn]. \"You must play for everyone {tonight|at the big feast}.\"",
    ], [
        "That evening, [n] played for the whole [area]. {At first [his] heart beat fast.|At first [he] was very nervous.} But then {everyone began to dance|it was quiet, and everyone listened}. When the song was over, they all {cheered|clapped for a long time}.",
        "\"{More, more|Play it again}!\" they called. And [n] played until the {moon|stars} came out.",
    ]], "try"


def grumpy(r, e):
    e["old"] = r.choice(["giant", "bear", "goat", "troll", "wizard", "crow"])
    return [[
        "Near the [area] lived an old [old]. {He was always angry.|He never smiled.} \"{Go away|Be quiet|Leave me alone}!\" he shouted when someone came near. Everyone was afraid of him.",
        "But [n] was not so sure. \"{Maybe he is only sad|Maybe he is lonely},\" [he] said to [fd]. \"{Do not go there|He will eat you}!\" said [fn].",
    ], [
        DAY + ", [n] took a [food] and knocked at the door of the old [old]. \"What do you want?\" shouted the [old].",
        "\"I {made|brought} this for you,\" said [n]. \"{May I come in?|I hope you like [them].}\"",
        "The [old] looked at the [short]. Then he {looked at [n]|sat down}, and a big tear fell on the floor. \"{No one has ever brought me anything|In a hundred years, nobody was kind to me},\" he said.",
    ], [
        "They ate together, and the [old] told {stories of long ago|many funny stories}. {He was not angry at all.|He even laughed.} The next day, [n] brought [fn] along, and soon {everyone came to visit|the [old] had many friends}.",
    ]], "kind"


def bridge(r, e):
    return [[
        "A wide river ran {through|past} the [area]. On the other side were {the sweetest berries|the best apples|the most beautiful flowers}, but nobody could get there. {The water was too deep and too fast.|There was no bridge.}",
        "\"Let us build a bridge,\" said [n]. \"{You can not do that|You are too small},\" said the others and laughed. Only [fd] did not laugh. \"I will help you,\" said [fn].",
    ], [
        "They began to work. [n] {carried stones|brought wood}, and [fn] {tied the ropes|pulled the big logs}. It was very hard. {The rain washed the wood away, and they had to begin again.|On the first day, the bridge fell down.}",
        "But they did not stop. Soon {a mouse|a rabbit|a duck} came to help, and then {a goat|a beaver|a dog}, and then everyone else.",
    ], [
        "After {seven days|a week}, the bridge was done. It was {long and strong|[color] and strong}. [n] was the first to walk over it. Everyone cheered.",
        "In the evening, they {ate together on the other side|had a big feast}. \"{No one can build a bridge alone|I could not have done it alone},\" said [n].",
    ]], "help"


def invention(r, e):
    e["machine"] = r.choice(["a machine that could make pancakes", "a flying chair", "a clock that could sing", "a hat that could tell jokes", "a machine that could sort socks"])
    e["prob"] = {"pancakes": "It made so many pancakes that the house was full of them.", "chair": "It flew around the room and would not stop.",
                 "sing": "It sang so loudly that nobody could sleep.", "jokes": "It told the same joke again and again.", "socks": "It threw socks all over the house."}[e["machine"].split()[-1]]
    return [[
        "[n] liked to build things. " + DAY + ", [he] had a great idea. [He] wanted to build [machine]. {[He] worked all day and all night.|[He] used wheels, spoons, and an old [toy].}",
        "At last it was ready. [n] pushed the [color] button. {Click! Clack! Boom!|Tick, tack, puff!} It worked! But then something went wrong. [prob]",
    ], [
        "\"Help!\" {cried|shouted} [n]. [fd] came running. \"{How do we stop it?|What have you made?}\" [fhe] asked.",
        "\"I do not know! I forgot to build a stop button,\" said [n].",
        "[fn] {thought for a moment|looked at it from all sides}. Then [fhe] {pulled out the [color2] wire|gave it a little kick}, and it was quiet.",
    ], [
        "[n] and [fn] looked at each other and {began to laugh|laughed until they cried}. \"{Next time, I will begin with the stop button|I think it needs a little more work},\" said [n].",
        "{Then they cleaned up together.|And the next day, they built a better one together.}",
    ]], "try"


def seasons(r, e):
    return [[
        "All summer long, [n] {played in the sun|danced in the grass}. But [fd] worked every day. [fHe] {carried wood|put nuts and apples in a big box}. \"Why do you work so hard?\" asked [n]. \"{Come and play!|The sun is shining!}\"",
        "\"Winter will come,\" said [fn]. \"{You should work too|Then it will be cold}.\" But [n] only laughed.",
    ], [
        "Then the leaves turned {red and yellow|brown} and fell. The wind grew cold, and {one morning there was snow|the snow came}. [n] had no food and no wood. {[He] was cold and hungry.|[His] tummy was empty.}",
        "[He] knocked at the door of [fn]. \"{You were right|I was silly},\" said [n]. \"I have nothing to eat.\"",
    ], [
        "[fn] opened the door. \"Come in,\" [fhe] said. \"There is enough for two.\" {They sat by the fire and ate hot soup.|It was warm inside, and it smelled of soup.} All winter, [n] {told stories and sang songs|made [fn] laugh}, {and the time went by fast|so that [fn] was never bored}.",
        "When spring came, [n] {said, \"This year I will help you,\" and [he] did|was the first one to work}.",
    ]], "help"


def picture(r, e):
    e["pic"] = r.choice(["the sea", "the forest", "a red bird", "the stars", "a big garden", "a golden fish"])
    return [[
        "There was a painting contest in the [area]. [n] wanted to paint [pic]. But [he] had only one color left, and it was [color]. \"{That is not enough|I can not paint [pic] only in [color]},\" [he] said.",
        friend_in(e),
        "\"{I have a [color2] one|You can use my [color2] one},\" said [fn]. \"{We can share|Let us paint together}.\"",
    ], [
        "So they painted with [color] and [color2]. {They painted all day.|They had paint on their ears and noses.} {It looked strange, but it was beautiful.|When it was done, it looked like no other picture.}",
        "The next day, everyone came to see the pictures. {There were many pretty ones.|Some were big, and some were small.} [n] was {very nervous|a little afraid}.",
    ], [
        "\"First prize goes to [n] and [fn]!\" said {the old judge|the judge}. \"{Two colors and two friends can make a masterpiece|I have never seen a picture like this}.\" {They jumped for joy.|Everyone clapped.}",
        "The picture hung {on the wall|over the fire} for many years, and {everyone who saw it had to smile|they looked at it every day}.",
    ]], "share"


PLOTS = {f.__name__: f for f in (
    lost_toy, rainy_day, sharing, brave_rescue, new_friend, garden, baking, moon_trip, dark_night, race, treasure,
    sick_friend, snow_day, birthday, lost_in_woods, magic_wish, boat_trip, broken_cup, learning, big_noise,
    fallen_star, kite, lost_baby, market, music, grumpy, bridge, invention, seasons, picture)}

ENDING = ["And so [n] learned that [moral].", "[n] learned that [moral].", "That day, [n] learned that [moral].",
          "And they all lived happily ever after.", "The end.", "[n] never forgot that [moral].",
          "And [n] was very, very happy.", "It was a day that [n] would always remember.",
          "And if you listen closely, you can still hear [n] laugh."]


# Traits that would contradict a plot.
CLASH = {"new_friend": ("kind", "cheerful", "busy", "funny"), "dark_night": ("brave",), "big_noise": ("brave",),
         "seasons": ("busy", "clever"), "sharing": ("kind",), "music": ("quiet",), "birthday": ("quiet",),
         "brave_rescue": ("brave",), "learning": ("clever",), "broken_cup": ("brave", "quiet")}


def make_story(rng, once=None, kind=None, name=None, plot=None, fkind=None):
    plot = plot or rng.choice(sorted(PLOTS))
    env = make_cast(rng, kind, name, fkind)
    while env["trait"] in CLASH.get(plot, ()):
        env["trait"] = rng.choice(sorted(TRAITS))
    if once is None:
        once = rng.random() < 0.6
    start = intro(rng, env, once)
    paragraphs, moral = PLOTS[plot](rng, env)
    env["moral"] = expand(MORALS[moral], rng)
    paragraphs = [list(p) for p in paragraphs]
    if len(start) >= 3 and plot != "new_friend":
        paragraphs.insert(0, start)
    else:
        paragraphs[0] = start + paragraphs[0]
    if rng.random() < 0.75:
        paragraphs[-1].append(rng.choice(ENDING))
    text = "\n\n".join(expand(" ".join(p), rng, env) for p in paragraphs)
    return text, env


if __name__ == "__main__":
    import random
    import sys
    rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    for p in sorted(PLOTS):
        print("---", p)
        print(make_story(rng, plot=p)[0])
