"""Sample data of the digital foreman: a fault of one machine, and the ordered steps for that very machine.

A procedure is the fault's steps inside the order of lock-out, with the steps that the machine's own traits add and its
own part numbers. No pair of machine and fault of eval.jsonl is in training, nor any of its questions' wordings: machine
and fault must be put together. Unknown machines, and faults without a procedure, are to be escalated.
"""

import json
import random
from typing import Any, NamedTuple

from recipes.sample_data import Row, chat, words_beside

UNKNOWN_SHARE = 0.1
TRAIN_QUESTIONS, HELD_OUT_QUESTIONS = 14, 11

WORDS = words_beside(__file__)
TYPES, TRAITS, ORDER = WORDS["types"], WORDS["traits"], WORDS["order"]


class PlantMachine(NamedTuple):
    """One machine: its type, what must be isolated, its traits and part numbers."""

    name: str
    type: str
    energies: tuple[str, ...]
    traits: tuple[str, ...]
    parts: dict[str, str]


def plant(rng: random.Random) -> list[PlantMachine]:
    """The machines of all types in turn, each with one to three traits."""
    machines = []
    for n in range(WORDS["counts"]["machines"]):
        kind = list(TYPES)[n % len(TYPES)]
        of = TYPES[kind]
        energies = (*of["energies"], *(["second_feed"] if rng.random() < 0.3 else []))
        possible = [trait for trait, has in TRAITS.items() if kind in has["types"]]
        traits = tuple(rng.sample(possible, min(len(possible), rng.randint(1, 3))))
        series = rng.randint(1000, 9999)
        parts = {part: f"{part} {of['prefix']}-{series}" for part in of["parts"]}
        machines.append(PlantMachine(f"{of['prefix']}-{n // len(TYPES) + 1:02}", kind, energies, traits, parts))
    return machines


def steps(machine: PlantMachine, fault: str) -> list[str]:
    """The procedure in order. Where hands reach in: stop, lock out, release, verify, work, remove locks, test."""
    work = [step.format(**machine.parts) for step in TYPES[machine.type]["faults"][fault]]
    if fault in TYPES[machine.type]["hands_off"]:
        return [*work, *ORDER["unlocked_after"]]
    isolate = " and ".join(WORDS["isolate"][energy] for energy in machine.energies)
    before = [step.format(type=machine.type, isolate=isolate) for step in ORDER["before"]]
    released = [has["step"] for trait, has in TRAITS.items() if trait in machine.traits]
    return [*TYPES[machine.type].get("first", []), *before, *released, ORDER["verify"], *work, *ORDER["after"]]


def row(question: str, machine: str, answer: str, **item: Any) -> Row:
    """A question with its answer; the fields beside the messages are what graders and slices read."""
    return {"messages": chat(answer, question, WORDS["system"]), "machine": machine, **item}


def repair(question: str, machine: PlantMachine, fault: str) -> Row:
    """A fault that has a procedure."""
    listed, before = steps(machine, fault), f"{machine.name}, {machine.type}:"
    answer = " ".join([before, *(f"{n}. {step}." for n, step in enumerate(listed, start=1))])
    lockout = "no" if fault in TYPES[machine.type]["hands_off"] else "yes"
    fields = {"before": before, "steps": listed, "lockout": lockout, "kind": "repair", "type": machine.type}
    return row(question, machine.name, answer, **fields)


def escalate(rng: random.Random, machines: list[PlantMachine], wordings: list[str]) -> Row:
    """A machine that is not on the list, or a fault that has no procedure."""
    machine = rng.choice(machines)
    if rng.random() < 0.5:
        name = f"{TYPES[machine.type]['prefix']}-{rng.randint(20, 89)}"
        fault, reason = rng.choice(list(TYPES[machine.type]["faults"])), f"{name} is not on the list"
    else:
        name, fault = machine.name, rng.choice(WORDS["unknown"]["faults"])
        reason = f"no procedure for this fault of {name}"
    question = rng.choice(wordings).format(machine=name, fault=fault)
    answer = f"Escalate to maintenance engineering: {reason}."
    return row(question, name, answer, before=answer, steps=[], lockout="no", kind="escalate", type=machine.type)


def generate() -> dict[str, list[Row]]:
    """Training and held-out rows. A held-out pair's fault and machine each occur in training, with other partners."""
    rng = random.Random(17)
    machines, wordings = plant(rng), WORDS["questions"]
    pairs = [(machine, fault) for machine in machines for fault in TYPES[machine.type]["faults"]]
    held_out_pairs = set(rng.sample(range(len(pairs)), WORDS["counts"]["faults_held_out"]))
    splits: tuple[list[Row], list[Row]] = ([], [])
    for n, (machine, fault) in enumerate(pairs):
        held_out = n in held_out_pairs
        shop = [(text, talk) for text in wordings["held_out" if held_out else "shop"] for talk in WORDS["talk"][fault]]
        plain = [] if held_out else [(text, fault) for text in wordings["plain"]]
        asked = rng.sample(shop, HELD_OUT_QUESTIONS if held_out else TRAIN_QUESTIONS - len(plain)) + plain
        split = splits[held_out]
        split += [repair(text.format(machine=machine.name, fault=say), machine, fault) for text, say in asked]
    for part, split in enumerate(splits):
        texts = wordings["held_out"] if part else wordings["plain"] + wordings["shop"]
        drawn = {json.dumps(escalate(rng, machines, texts)): None for _ in range(round(UNKNOWN_SHARE * len(split)))}
        split.extend(json.loads(text) for text in drawn)
        rng.shuffle(split)
    # Graders and slices read held-out rows alone.
    return {"train.jsonl": [{"messages": entry["messages"]} for entry in splits[0]], "eval.jsonl": splits[1]}
