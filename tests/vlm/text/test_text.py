"""Word pieces, BERT, local folders, prompts and the rewriting of reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medzoo.core.errors import CheckpointError, ConfigError, DataError
from medzoo.vlm.text.bert import Bert, BertSize
from medzoo.vlm.text.encoder import TextEncoder, check_texts, load_bert, read_folder
from medzoo.vlm.text.prompts import Prompt, Prompts, clinical_prompts, from_preset, presets, read_prompts
from medzoo.vlm.text.rewrite import LEXICON, Rewriter, Words, denied_twin, read_lexicon, sentences
from medzoo.vlm.text.wordpiece import SPECIALS, WordPiece, build_vocabulary

TEXTS = ["There is no pleural effusion.", "There is a small nodule in the left lung.", "No pneumothorax"]
TINY = BertSize(60, 16, 3, 4, 32, 40)


def test_words_are_cut_into_their_longest_pieces() -> None:
    pieces = WordPiece([*SPECIALS, "pleural", "effus", "##ion", "##ions", "e", "##s", "x", "-", "ray"])
    assert pieces.pieces("effusions") == ["effus", "##ions"]
    assert pieces.pieces("effusionx") == ["[UNK]"]
    assert pieces.words("Pléural X-ray,\tno_change\u200b") == ["pleural", "x", "-", "ray", ",", "no", "_", "change"]
    tokens = pieces(["Pleural effusions", "x"], 10)
    assert tokens.ids.tolist() == [[2, 5, 6, 8, 3], [2, 11, 3, 0, 0]]
    assert tokens.words.tolist() == [[0, 1, 2, 2, 3], [0, 1, 2, -1, -1]]
    assert (tokens.truncated, tokens.unknown) == ((False, False), (False, False))


def test_what_is_too_long_is_cut_and_what_is_unknown_is_noted() -> None:
    pieces = WordPiece([*SPECIALS, "a"])
    tokens = pieces(["a a a a", "zebra"], 4)
    assert tokens.ids.tolist() == [[2, 5, 5, 3], [2, 1, 3, 0]]
    assert (tokens.truncated, tokens.unknown) == ((True, False), (False, True))
    with pytest.raises(ConfigError, match="knows no word of 'zebra'"):
        check_texts(["zebra"], pieces(["zebra"], 4), "--prompts")
    with pytest.raises(ConfigError, match="is longer than 4 pieces"):
        check_texts(["a a a a"], pieces(["a a a a"], 4), "--prompts")


def test_a_vocabulary_is_always_the_same_and_cuts_every_word_of_its_corpus() -> None:
    first, second = build_vocabulary(TEXTS, 60), build_vocabulary(TEXTS[::-1], 60)
    assert first == second
    assert first[:5] == list(SPECIALS)
    assert len(first) <= 60
    pieces = WordPiece(build_vocabulary(TEXTS, 5))  # characters alone
    assert not any(pieces(TEXTS, 100).unknown)
    for bad in (["[PAD]"], [*SPECIALS, "a", "a"]):
        with pytest.raises(ValueError, match="vocabulary has"):
            WordPiece(bad)


def test_layers_are_those_of_torch() -> None:
    """A BERT layer is torch's encoder layer with the norm behind and gelu."""
    torch.manual_seed(0)
    bert = Bert(TINY).eval()
    ids, mask = torch.randint(60, (2, 9)), torch.arange(9) < torch.tensor([[9], [4]])
    states = bert(ids, mask)
    for layer, before, after in zip(bert.encoder.layer, states, states[1:], strict=False):  # type: ignore[union-attr, arg-type]
        other = torch.nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", layer_norm_eps=1e-12, batch_first=True)
        own = layer.attention["self"]
        parts = [own[name] for name in ("query", "key", "value")]
        other.self_attn.in_proj_weight.data = torch.cat([part.weight for part in parts])
        other.self_attn.in_proj_bias.data = torch.cat([part.bias for part in parts])
        pairs = (
            (other.self_attn.out_proj, layer.attention["output"]["dense"]), (other.norm2, layer.output["LayerNorm"]),
            (other.norm1, layer.attention["output"]["LayerNorm"]), (other.linear2, layer.output["dense"]),
            (other.linear1, layer.intermediate["dense"]),
        )  # fmt: skip
        for target, source in pairs:
            target.load_state_dict(source.state_dict())
        wanted = other.eval()(before, src_key_padding_mask=~mask)
        assert torch.allclose(after[mask], wanted[mask], atol=1e-5)


def test_base_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in Bert(BertSize(vocabulary=30_522)).parameters())
    assert count == 109_482_240 - 590_592  # bert-base-uncased without its pooler


def encoder(masked: bool) -> tuple[TextEncoder, WordPiece]:
    torch.manual_seed(0)
    pieces = WordPiece(build_vocabulary(TEXTS, 60))
    return TextEncoder(TINY, last=2, slots=20, masked=masked).eval(), pieces


def test_pieces_add_up_to_words_and_words_to_a_text() -> None:
    """The published loop over `##`, written out."""
    for masked in (True, False):
        model, pieces = encoder(masked)
        tokens = pieces([*TEXTS, "effusionlung"], 20)
        with torch.no_grad():
            found = model(tokens.ids, tokens.words)
            states = torch.stack(model.bert(tokens.ids, tokens.words >= 0)[-2:]).sum(0)
        for row in range(4):
            words: list[torch.Tensor] = []
            for place, number in enumerate(tokens.ids[row].tolist()):
                if pieces.vocabulary[number] == "[PAD]":
                    continue
                if pieces.vocabulary[number].startswith("##"):
                    words[-1] = words[-1] + states[row, place]
                else:
                    words.append(states[row, place])
            assert torch.allclose(found.tokens[row, : len(words)], torch.stack(words), atol=1e-5)
            assert found.tokens[row, len(words) :].abs().sum() == 0
            mean = torch.stack(words).sum(0) / (len(words) if masked else 20)
            assert torch.allclose(found.globals[row], mean, atol=1e-5)
            assert found.mask[row].sum() == (len(words) if masked else 20)


def test_features_of_a_text_do_not_depend_on_the_others() -> None:
    model, pieces = encoder(True)
    together = pieces(TEXTS, 20)
    with torch.no_grad():
        whole = model(together.ids, together.words).globals
        alone = torch.cat([model(t.ids, t.words).globals for t in (pieces([text], 20) for text in TEXTS)])
    assert torch.allclose(whole, alone, atol=1e-6)


def folder(path: Path, vocabulary: list[str], prefix: str = "bert.") -> Bert:
    """Write a folder as `save_pretrained` of Hugging Face does, and return the BERT in it."""
    torch.manual_seed(3)
    size = BertSize(len(vocabulary), 16, 2, 4, 32, 40)
    bert = Bert(size)
    path.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "bert", "vocab_size": size.vocabulary, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 32, "max_position_embeddings": 40, "hidden_dropout_prob": 0.0,
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    (path / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    weights = {prefix + name: value.contiguous() for name, value in bert.state_dict().items()}
    weights[prefix + "embeddings.position_ids"] = torch.arange(40)[None]
    weights[prefix + "pooler.dense.weight"] = torch.zeros(16, 16)
    save_file(weights, path / "model.safetensors")
    return bert


@pytest.mark.parametrize("prefix", ["bert.", ""])
def test_a_local_folder_is_read_with_its_weights(tmp_path: Path, prefix: str) -> None:
    vocabulary = build_vocabulary([*TEXTS, "pleural effusion"], 60)
    source = folder(tmp_path / "bert", vocabulary, prefix)
    settings = read_folder(tmp_path / "bert")
    assert settings.vocabulary == vocabulary
    bert = Bert(settings.bert())
    line = load_bert(bert, tmp_path / "bert")
    assert "37 of 37 tensors loaded, 1 of the file not used" in line
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in bert.state_dict().items())
    (tmp_path / "bert/vocab.txt").unlink()
    tokenizer = {
        "model": {"type": "WordPiece", "vocab": {piece: place for place, piece in enumerate(vocabulary)}},
        "normalizer": {"type": "BertNormalizer", "lowercase": False},
    }
    (tmp_path / "bert/tokenizer.json").write_text(json.dumps(tokenizer))
    again = read_folder(tmp_path / "bert")
    assert (again.vocabulary, again.lower) == (vocabulary, False)


def test_a_vocabulary_has_a_piece_a_line_whatever_marks_the_pieces_are(tmp_path: Path) -> None:
    """Unicode ends lines at more places than files do: pieces behind such a mark would have another number."""
    vocabulary = [*build_vocabulary([*TEXTS, "pleural effusion"], 60), "\u2028", "\u3000", "\x85", "zz"]
    folder(tmp_path / "bert", vocabulary)
    assert read_folder(tmp_path / "bert").vocabulary == vocabulary


def test_a_folder_that_lacks_something_costs_one_line(tmp_path: Path) -> None:
    vocabulary = build_vocabulary([*TEXTS, "pleural effusion"], 60)

    def said(change: str) -> str:
        path = tmp_path / change
        folder(path, vocabulary)
        if change.endswith((".json", ".txt", ".safetensors")):
            (path / change).unlink()
        if change == "size":
            (path / "vocab.txt").write_text("\n".join([*vocabulary, "more"]))
        if change == "other":
            (path / "vocab.txt").write_text("\n".join([*SPECIALS, *map(str, range(len(vocabulary) - 5))]))
        if change == "config":
            (path / "config.json").write_text("{}")
        if change == "pixels":
            save_file({"a": torch.ones(3)}, path / "model.safetensors")
            load_bert(Bert(BertSize(len(vocabulary), 16, 2, 4, 32, 40)), path)
        with pytest.raises((DataError, CheckpointError)) as error:
            read_folder(path)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "has no config.json" in said("config.json")
    assert "has neither vocab.txt nor tokenizer.json" in said("vocab.txt")
    assert "has no model.safetensors or pytorch_model.bin" in said("model.safetensors")
    assert "pieces in its vocabulary, but the model" in said("size")
    assert "knows no piece of 'pleural effusion'" in said("other")
    assert "has not the sizes of a BERT" in said("config")
    with pytest.raises(DataError, match="nothing is downloaded"):
        read_folder(tmp_path / "emilyalsentzer/Bio_ClinicalBERT")
    with pytest.raises(CheckpointError, match=r"only 0 of \d+ tensors fit"):
        said("pixels")


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("There is a small left pleural effusion.", ["There is pleural effusion"]),
        ("No pneumothorax or focal consolidation.", ["There is no pneumothorax", "There is no consolidation"]),
        ("No change in the effusion.", ["There is pleural effusion"]),
        ("The effusion has not significantly changed.", ["There is pleural effusion"]),
        ("There is no edema and there is a large mass.", ["There is no pulmonary edema", "There is lung mass"]),
        ("No edema is seen, there are masses.", ["There is no pulmonary edema", "There is lung mass"]),
        ("No evidence that there is a mass.", ["There is no lung mass"]),
        ("No pneumothorax but a large mass.", ["There is no pneumothorax", "There is lung mass"]),
        ("Heart is normal in size; lungs are clear.", ["There is no cardiomegaly", "There is no consolidation"]),
        ("Possible pneumonia. An effusion cannot be excluded.", []),
        ("The pneumothorax has resolved.", ["There is no pneumothorax"]),
        ("The pneumothorax has not resolved.", ["There is pneumothorax"]),
        ("The effusion has partially resolved.", ["There is pleural effusion"]),
        ("Near complete resolution of the effusion.", ["There is pleural effusion"]),
        (
            "Edema without significant change in the effusion.",
            ["There is pulmonary edema", "There is pleural effusion"],
        ),
        ("A pneumothorax is not definitely seen.", ["There is no pneumothorax"]),
        (
            "Pneumothorax is not visualized. Edema not appreciated.",
            ["There is no pneumothorax", "There is no pulmonary edema"],
        ),
        ("Pneumonia is unlikely. Suspicion for a mass. Worrisome for edema.", []),
        ("No effusion on the right. Small left effusion.", ["There is pleural effusion"]),
        ("FINDINGS: Nodules. IMPRESSION: 1. Edema is absent.", ["There is no pulmonary edema"]),
        ("Negative for fracture. Masses in both lungs.", ["There is no fracture", "There is lung mass"]),
        ("Massive ascites.", []),
        (
            "Small pericardial effusion. No pleural effusion.",
            ["There is pericardial effusion", "There is no pleural effusion"],
        ),
        ("Subcutaneous emphysema in cystic fibrosis.", ["There is subcutaneous emphysema", "There is cystic fibrosis"]),
        ("", []),
    ],
)
def test_a_report_is_rewritten_by_rules(report: str, said: list[str]) -> None:
    assert Rewriter()(report) == said


def test_mentions_have_side_severity_and_their_sentence() -> None:
    mentions = Rewriter().mentions(
        "Moderate left pleural effusion. Questionable nodule. Both lungs show marked emphysema."
    )
    found = [(m.finding, m.state, m.side, m.severity) for m in mentions]
    assert found == [
        ("pleural effusion", "present", "left", "moderate"), ("lung nodule", "uncertain", "", ""),
        ("emphysema", "present", "both", "severe"),
    ]  # fmt: skip
    assert mentions[1].sentence == "Questionable nodule"


def test_a_lexicon_of_ones_own_and_its_faults(tmp_path: Path) -> None:
    rewriter = Rewriter({"drusen": Words(("druse", "drusen"), ("macula is clear",))})
    assert rewriter("Several drusen.") == ["There is drusen"]
    assert rewriter("The macula is clear. No effusion.") == ["There is no drusen"]
    assert len(read_lexicon(LEXICON)) > 20
    for text, said in (("- a", "has no finding"), ("a: [b]", "'a' has no list of names"), ("a: {names: b: c", "YAML")):
        path = tmp_path / "lexicon.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError, match=said):
            read_lexicon(path)
    with pytest.raises(ConfigError, match="no such lexicon"):
        read_lexicon(tmp_path / "no.yaml")


def test_a_denial_is_its_own_twins_twin() -> None:
    for text in ("There is pneumothorax", "There is no lung mass"):
        twin = denied_twin(text)
        assert twin is not None
        assert twin != text
        assert denied_twin(twin) == text
    assert denied_twin("Low volumes") is None


def test_sentences_are_split_and_single_words_dropped() -> None:
    assert sentences("1. Small nodule, 2.5 cm. Stable.\n\n2) No mass. ___ seen") == ["Small nodule, 2.5 cm", "No mass"]


def test_presets_and_prompts_of_a_file(tmp_path: Path) -> None:
    assert presets() == ("biovil", "carzero", "chexzero", "clip", "ctclip", "gloria", "name")
    assert read_prompts(" pleural  effusion; mass;").classes[0].positive == ("There is pleural effusion",)
    pair = from_preset("chexzero", ["mass"])
    assert (pair.combine, pair.classes[0].negative) == ("pair", ("no mass",))
    (column,) = from_preset("carzero", ["Pleural_Thickening"]).classes
    assert (column.name, column.positive) == ("Pleural_Thickening", ("There is Pleural Thickening",))
    path = tmp_path / "prompts.yaml"
    path.write_text("mass: [There is a mass, A mass is seen]\neffusion: There is fluid\n")
    found = read_prompts(str(path))
    assert found == Prompts(
        (Prompt("mass", ("There is a mass", "A mass is seen")), Prompt("effusion", ("There is fluid",))), "logit"
    )
    path.write_text("mass: {positive: mass, negative: no mass}")
    assert read_prompts(str(path)).combine == "pair"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no name of a class"), ("__", "is no name of a class"),
        ("mass;;effusion", "is no name of a class"), ("mass; mass", "comes twice"),
        ("nowhere.yaml", "no such file"),
    ],
)  # fmt: skip
def test_prompts_that_say_nothing_cost_one_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_prompts(text)


@pytest.mark.parametrize("content", ["- a", "mass: 3", "mass: ['']", "mass: {negative: no}", "a: b: c"])
def test_files_of_prompts_with_another_form_cost_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "prompts.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match="--prompts") as error:
        read_prompts(str(path))
    assert "\n" not in str(error.value)


def test_a_preset_that_denies_nothing_asks_for_a_file_where_denials_are_needed() -> None:
    assert clinical_prompts(None, "name", ["mass"], False)[0].positive == ("mass",)
    with pytest.raises(ConfigError, match="no negative sentence of 'mass' by the preset name; give a YAML file"):
        clinical_prompts(None, "name", ["mass"], True)
