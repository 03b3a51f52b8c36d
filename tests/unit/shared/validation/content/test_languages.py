"""Sentences written by hand, not seen by whoever trained the model: its answers, and what a file of them reports."""

# ruff: noqa: RUF001
from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.validation.content.languages import MIXED, UNKNOWN, language_of_row
from tests.paths import ROOT
from tests.unit.shared.validation import test_validation_public_files as public
from tests.unit.shared.validation.conftest import Check

SENTENCES = {
    "en": (
        "The delivery was late again, and nobody at the warehouse could tell me when the missing parts would arrive.",
        "Please check the pressure in the second boiler before you restart the line this evening.",
        "We regret to inform you that your claim was declined because the damage happened before the policy began.",
    ),
    "de": (
        "Die Lieferung kam wieder zu spät, und im Lager konnte mir niemand sagen, wann die fehlenden Teile eintreffen.",
        "Bitte prüfen Sie den Druck im zweiten Kessel, bevor Sie die Anlage heute Abend wieder anfahren.",
        "Wir bedauern, Ihnen mitteilen zu müssen, dass Ihr Antrag abgelehnt wurde, weil der Schaden früher entstand.",
    ),
    "fr": (
        "La livraison est encore arrivée en retard et personne à l'entrepôt ne savait quand les pièces arriveraient.",
        "Veuillez vérifier la pression dans la deuxième chaudière avant de redémarrer la ligne ce soir.",
        "Nous avons le regret de vous informer que votre demande a été refusée, car le dommage était antérieur.",
    ),
    "es": (
        "La entrega volvió a llegar tarde y nadie en el almacén supo decirme cuándo llegarían las piezas que faltan.",
        "Compruebe la presión de la segunda caldera antes de volver a poner en marcha la línea esta tarde.",
        "Lamentamos informarle de que su solicitud fue rechazada porque el daño ocurrió antes del contrato.",
    ),
    "it": (
        "La consegna è arrivata di nuovo in ritardo e nessuno in magazzino sapeva dirmi quando arriveranno i pezzi.",
        "Controllare la pressione della seconda caldaia prima di riavviare la linea questa sera, per favore.",
    ),
    "pt": (
        "A entrega voltou a chegar atrasada e ninguém no armazém soube dizer-me quando chegam as peças em falta.",
        "Verifique a pressão da segunda caldeira antes de voltar a ligar a linha esta noite, por favor.",
    ),
    "nl": (
        "De levering was weer te laat en niemand in het magazijn kon mij vertellen wanneer de onderdelen zouden komen.",
        "Controleer de druk in de tweede ketel voordat u de lijn vanavond weer start, alstublieft.",
    ),
    "pl": (
        "Dostawa znowu się spóźniła i nikt w magazynie nie potrafił powiedzieć, kiedy dotrą brakujące części.",
        "Proszę sprawdzić ciśnienie w drugim kotle, zanim dziś wieczorem ponownie uruchomi pan linię.",
    ),
    "sv": ("Leveransen var sen igen och ingen på lagret kunde säga när de saknade delarna skulle komma.",),
    "da": ("Leverancen var forsinket igen, og ingen på lageret kunne fortælle mig, hvornår de manglende dele kommer.",),
    "cs": ("Dodávka se opět zpozdila a nikdo ve skladu mi nedokázal říct, kdy dorazí chybějící díly.",),
    "tr": ("Teslimat yine gecikti ve depodaki hiç kimse eksik parçaların ne zaman geleceğini söyleyemedi.",),
    "ru": ("Поставка снова опоздала, и никто на складе не смог сказать мне, когда придут недостающие детали.",),
    "uk": ("Постачання знову запізнилося, і ніхто на складі не зміг сказати мені, коли прибудуть відсутні деталі.",),
    "ar": ("تأخرت الشحنة مرة أخرى ولم يستطع أحد في المستودع أن يخبرني متى ستصل القطع الناقصة.",),
    "ja": ("納品がまた遅れ、倉庫の誰も足りない部品がいつ届くのか教えてくれませんでした。それでも作業は続けました。",),
    "zh": (
        "交货又晚了，仓库里没有人能告诉我缺少的零件什么时候会到，所以我们只好停下生产线等待，直到今天晚上为止，大家都很着急也没有办法。",
    ),
    "ko": (
        "배송이 또 늦어졌고 창고의 누구도 빠진 부품이 언제 도착할지 말해 주지 못했습니다. 그래서 우리는 기다렸습니다.",
    ),
    "hi": ("डिलीवरी फिर से देर से आई और गोदाम में कोई भी मुझे यह नहीं बता सका कि गायब पुर्जे कब आएँगे।",),
    "el": (
        "Η παράδοση καθυστέρησε ξανά και κανείς στην αποθήκη δεν μπορούσε να μου πει πότε θα φτάσουν τα εξαρτήματα.",
    ),
}
EVERY = [(language, text) for language, texts in SENTENCES.items() for text in texts]
ENGLISH, GERMAN = SENTENCES["en"], SENTENCES["de"]


def test_every_sentence_is_told_its_language() -> None:
    wrong = [(language, text) for language, text in EVERY if language_of_row("", text) != language]
    assert len(SENTENCES) == 20
    assert wrong == []


@pytest.mark.parametrize("form", [str.upper, lambda text: f"{text}\n\n{text}", lambda text: f"1. {text} (A-17/4)"])
def test_capitals_line_breaks_and_numbers_do_not_make_another_language(form) -> None:
    assert {language_of_row("", form(text)) for text in ENGLISH} == {"en"}


@pytest.mark.parametrize(
    "text", ["", "ok", "Part 17-B/4, 22.5 mm", "4111 1111 " * 30, "\u0301" * 200, "\0" * 99, "a" * 150]
)
def test_short_and_senseless_texts_are_unknown(text: str) -> None:
    assert language_of_row("", text) == UNKNOWN


def test_a_row_with_two_languages_is_mixed_and_one_with_a_short_side_is_not() -> None:
    assert language_of_row(ENGLISH[0], GERMAN[0]) == MIXED
    assert language_of_row(GERMAN[0], "Ja.") == "de"


def test_a_short_question_and_its_answer_are_told_together() -> None:
    """Each is unknown by itself."""
    assert (
        language_of_row("Generate a series of 8 words the describe running.", "1. Sprinting\n2. Jogging\n3. Speed")
        == "en"
    )


def file_of(*languages: str) -> bytes:
    """Rows whose question and answer are both in a language; numbered, so that no two are equal."""
    lines = []
    for number, language in enumerate(languages):
        question, answer = SENTENCES[language][0], SENTENCES[language][-1]
        messages = [{"role": "user", "content": f"{question} {number}"}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"messages": messages}))
    return "\n".join(lines).encode()


def other_languages(checked) -> dict[str, tuple[int, ...]]:
    found = [one for one in checked.result.report.problems if one.code == "unexpected_language"]
    assert {one.severity for one in found} <= {"warning"}
    return {one.message: one.rows for one in found}


def test_a_few_rows_of_another_language_are_named_and_no_text_of_them(check: Check) -> None:
    languages = ["en"] * 150
    languages[41] = languages[97] = "de"
    checked = check(file_of(*languages))
    message = "Nearly all rows are in one language, and a few in another: 2 rows in de."
    assert other_languages(checked) == {message: (42, 98)}
    assert checked.result.report.statistics.languages == {"en": 148, "de": 2}


@pytest.mark.parametrize("languages", [["en"] * 60 + ["de"] * 2, ["en"] * 150 + ["de"] * 30, ["fr"] * 120])
def test_a_small_file_and_one_in_several_languages_are_not_warned_of(check: Check, languages: list[str]) -> None:
    assert other_languages(check(file_of(*languages))) == {}


def test_a_language_close_to_the_main_one_is_not_reported(check: Check) -> None:
    """Swedish and Danish are taken for each other even in plain prose."""
    languages = ["sv"] * 150
    languages[41] = "da"
    languages[97] = "de"
    message = "Nearly all rows are in one language, and a few in another: 1 row in de."
    assert other_languages(check(file_of(*languages))) == {message: (98,)}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in public.FILES])
def test_no_public_file_has_rows_of_another_language(check: Check, path: Path) -> None:
    kind = next(
        (kind for start, kind in (("Direct_", "preference"), ("RFT_", "reinforcement")) if start in path.name), ""
    )
    checked = check(path.read_bytes(), recipe=public.RECIPES.get(kind), file_name=path.name)
    assert other_languages(checked) == {}
    assert sum(checked.result.report.statistics.languages.values()) == len(path.read_bytes().splitlines())


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/**/train.jsonl")), ids=lambda path: path.parent.name)
def test_no_ready_recipe_has_rows_of_another_language(check: Check, path: Path) -> None:
    checked = check(path.read_bytes(), recipe=(path.parent / "recipe.yaml").read_bytes())
    assert other_languages(checked) == {}
    assert set(checked.result.report.statistics.languages) <= {"en", UNKNOWN}
