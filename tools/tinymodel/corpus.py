"""corpus.py - the training text: stories, chats and short notes, all generated.

documents(seed, n) yields (text, kind). In the stream each document is preceded
by <|endoftext|>, which thereby also ends the one before it.
"""
import random
from grammar import expand
from chats import (ANIMALS, BOYS, CAN, CAPITALS, DAYS, FACTS, FOODS, GIRLS, MORE_NAMES, OPPOSITES, POEMS, SOUNDS,
                   THING_COLORS, chatml, make_chat)
from stories import COLORS, HOBBIES, PETS_F, PETS_M, TOYS, make_story

EOT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"


def about_me(rng):
    """A child writes about itself."""
    girl = rng.random() < .5
    pet = rng.choice(["cat", "dog", "rabbit", "mouse", "bird", "turtle", "pony"])
    env = {"n": rng.choice(GIRLS if girl else BOYS), "age": rng.choice("five six seven eight nine ten".split()), "pet": pet,
           "petn": rng.choice("Bella Luna Coco Pip Rusty Biscuit Teddy".split()), "c": rng.choice(COLORS), "f": rng.choice(FOODS),
           "toy": rng.choice(TOYS), "hobby": expand(HOBBIES, rng), "fr": rng.choice([x for x in GIRLS + BOYS])}
    parts = ["{My name is [n].|Hello, my name is [n].|I am [n].}", "I am [age] years old.", "I live {in a small house near the forest|in a little village by the sea|in a town by the river|on a farm} with my {mother and father|grandmother|mother|father|family}.",
             "{I have a [pet] named [petn].|My best friend is [fr].|I like to [hobby].}", "My favorite color is [c].", "I like {to eat|} [f].", "{Every day after school I [hobby].|In the evening I read a book.|My favorite thing is my [c] [toy].}",
             "{One day I want to fly to the moon.|When I am big, I want to sail over the sea.|I am happy.|I want to be a {baker|teacher|doctor|singer|farmer|painter}.}"]
    keep = [parts[0], parts[1]] + [p for p in parts[2:-1] if rng.random() < .7] + [parts[-1]]
    return expand(" ".join(keep), rng, env)


def diary(rng):
    env = {"n": rng.choice(GIRLS + BOYS), "f": rng.choice(FOODS), "c": rng.choice(COLORS), "d": rng.choice(DAYS), "a": rng.choice(sorted(ANIMALS)[:12]), "hobby": expand(HOBBIES, rng)}
    return expand("{Today|Yesterday|This morning|On [d]|Last week} I {went to the park|went to the river|was at home|visited my grandmother|went to the market} with {my friend|my brother|my sister} [n]. "
                  "{The sun was shining.|It was raining.|It was cold.|The wind was strong.} {We saw a [a].|We ate [f].|We found a [c] stone.|We made [f] together.} "
                  "{Then we went home.|We laughed a lot.|[n] told me a funny story.|We wanted to [hobby].} {It was a good day.|I was very tired, but happy.|I hope we can do it again.|I will never forget it.}", rng, env)


def letter(rng):
    a, b = rng.sample(GIRLS + BOYS, 2)
    env = {"a": a, "b": b, "f": rng.choice(FOODS), "c": rng.choice(COLORS)}
    return expand("Dear [a],\n\n{how are you? I am fine.|thank you for your letter.|I hope you are well.|thank you for the nice gift!} {Here it is {cold and it snows|warm and sunny|raining every day}.|I have learned to {swim|ride a bike|bake bread}.|We have a new {cat|dog|pony} now.|Yesterday we made [f].} "
                  "{Please come and visit us soon.|I hope to see you soon.|Write me back!|I miss you very much.}\n\n{Your friend|With love|Best wishes},\n[b]", rng, env)


def facts(rng):
    out = []
    for _ in range(rng.randint(2, 6)):
        k = rng.randrange(6)
        if k == 0:
            c = rng.choice(sorted(CAPITALS))
            out.append(expand("The capital of [c] is [p].", rng, {"c": c, "p": CAPITALS[c]}))
        elif k == 1:
            a = rng.choice(sorted(SOUNDS))
            out.append(expand("A %s says %s." % (a, SOUNDS[a]), rng))
        elif k == 2:
            a = rng.choice(sorted(THING_COLORS))
            out.append(a[0].upper() + a[1:] + " is " + THING_COLORS[a] + ".")
        elif k == 3:
            out.append("The opposite of %s is %s." % rng.choice(OPPOSITES))
        elif k == 4:
            out.append(FACTS[rng.choice(sorted(FACTS))])
        else:
            a = rng.choice(sorted(CAN))
            out.append("%s can %s, but it can not %s." % (a[0].upper() + a[1:], *CAN[a]))
    return " ".join(out)


def sums(rng):
    out = []
    for _ in range(rng.randint(2, 6)):
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        if rng.random() < .6:
            out.append(rng.choice(["%d + %d = %d", "%d plus %d is %d."]) % (a, b, a + b))
        else:
            a, b = max(a, b), min(a, b)
            out.append(rng.choice(["%d - %d = %d", "%d minus %d is %d."]) % (a, b, a - b))
    return "\n".join(out)


def key_words():
    """Words that stories carry along: each should be one token, as a single
    token is what a small model copies best."""
    return GIRLS + BOYS + PETS_F + PETS_M + sorted(ANIMALS) + COLORS + TOYS


def documents(seed, n):
    rng = random.Random(seed)
    for _ in range(n):
        k = rng.random()
        if k < .38:
            yield make_story(rng)[0], "story"
        elif k < .90:
            yield chatml(make_chat(rng)), "chat"
        elif k < .92:
            yield expand(rng.choice(POEMS), rng), "note"
        else:
            yield rng.choice([about_me, about_me, diary, letter, facts, sums])(rng), "note"


if __name__ == "__main__":
    for text, kind in documents(1, 40):
        if kind == "note":
            print(text, "\n")
