"""What transformers' suites ask of any model of this kind: an extended one does as stock does."""

from __future__ import annotations

from types import SimpleNamespace

import intp_video
import pytest
import torch
from hf import tiny_model
from hf.tiny_model import BOS, EOS, IMAGE, TOKENS_PER_FRAME, make_inputs, make_model
from intp_video import ModelError
from transformers import VideoLlavaForConditionalGeneration

Outcome = list[torch.Tensor]


def generate(model, **options) -> Outcome:
    torch.manual_seed(0)
    options = {"max_new_tokens": 5, "do_sample": False} | options
    return [model.generate(**make_inputs(8), **options)]


def words(count: int = 6) -> torch.Tensor:
    ids = torch.randint(3, 60, (2, count), generator=torch.Generator().manual_seed(3))
    return ids.to(tiny_model.DEVICE)


def image_and(ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """An image before the row `ids`."""
    place = torch.full((1, TOKENS_PER_FRAME), IMAGE, device=ids.device)
    pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    return {
        "input_ids": torch.cat((place, ids), dim=1),
        "pixel_values_images": pixels.to(ids.device),
    }


# -- inputs ---------------------------------------------------------------------------------------


def embeddings(model) -> Outcome:
    embeds = model.get_input_embeddings()(words())
    answer = model.generate(inputs_embeds=embeds, max_new_tokens=5, do_sample=False)
    return [model(inputs_embeds=embeds).logits, model(input_ids=words()).logits, answer]


def embeddings_of_a_video(model) -> Outcome:
    inputs = make_inputs(8)
    inputs["inputs_embeds"] = model.get_input_embeddings()(inputs.pop("input_ids"))
    return [model(**inputs).logits[:, -1]]


def positions(model) -> Outcome:
    inputs = make_inputs(8)
    places = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return [model(**inputs, position_ids=places).logits[:, -1]]


def an_image(model) -> Outcome:
    return [model(**image_and(words()[:1])).logits[:, -1]]


def an_image_and_a_video(model) -> Outcome:
    video = make_inputs(8, ((3, 4),))
    both = image_and(video["input_ids"])
    pixels = video["pixel_values_videos"]
    return [model(**both, pixel_values_videos=pixels).logits[:, -1]]


def no_input(model) -> Outcome:
    return [model.generate(max_new_tokens=4, do_sample=False, bos_token_id=BOS)]


def a_row_alone(model) -> Outcome:
    inputs = make_inputs(8)
    alone = {name: value[:1] for name, value in inputs.items()}
    return [model(**inputs).logits[:1, -1], model(**alone).logits[:, -1]]


# -- outputs --------------------------------------------------------------------------------------


def a_tuple(model) -> Outcome:
    return [model(**make_inputs(8), return_dict=False, use_cache=False)[0][:, -1]]


def hidden_states(model) -> Outcome:
    states = model(**make_inputs(8), output_hidden_states=True).hidden_states
    return [state[:, -1] for state in states]


def some_logits(model) -> Outcome:
    inputs, chosen = make_inputs(8), torch.tensor([2, -1], device=tiny_model.DEVICE)
    return [model(**inputs, logits_to_keep=keep).logits for keep in (3, chosen)]


def every_score(model) -> Outcome:
    told = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    output = model.generate(**make_inputs(8), max_new_tokens=4, do_sample=False, **told)
    return [output.sequences, *output.scores, *output.logits]


# -- the model as a module ------------------------------------------------------------------------


def a_gradient(model) -> Outcome:
    with torch.enable_grad():
        inputs = make_inputs(8)
        output = model(**inputs, labels=inputs["input_ids"], output_hidden_states=True)
        output.hidden_states[0].retain_grad()
        output.loss.backward()
    return [output.loss.detach(), output.hidden_states[0].grad]


def resized_embeddings(model) -> Outcome:
    model.resize_token_embeddings(80)
    wide = model(**make_inputs(8)).logits[:, -1, :64]
    model.resize_token_embeddings(64)
    return [wide, model(**make_inputs(8)).logits[:, -1]]


def traced(model) -> Outcome:
    class Text(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids):
            return self.model(input_ids=ids, use_cache=False).logits

    return [torch.jit.trace(Text(), words()[:1], check_trace=False)(words()[:1])]


# -- ways of generating ---------------------------------------------------------------------------


def streamed(model) -> Outcome:
    seen: Outcome = []
    streamer = SimpleNamespace(put=seen.append, end=lambda: None)
    model.generate(
        **make_inputs(8, ((3, 4),)), max_new_tokens=5, do_sample=False, streamer=streamer
    )
    return seen


def looked_up_in_the_prompt(model) -> Outcome:
    options = {"max_new_tokens": 5, "do_sample": False, "prompt_lookup_num_tokens": 2}
    options["eos_token_id"] = EOS  # 4.57 fails without one
    return [model.generate(**make_inputs(8, ((3, 4),)), **options)]


def continued(model) -> Outcome:
    inputs = make_inputs(8)
    options = {"max_new_tokens": 5, "do_sample": False}
    first = model.generate(**inputs, **options, return_dict_in_generate=True)
    rest = torch.ones_like(first.sequences[:, inputs["input_ids"].shape[1] :])
    mask = torch.cat((inputs["attention_mask"], rest), dim=1)
    ids, cache = first.sequences, first.past_key_values
    return [model.generate(input_ids=ids, attention_mask=mask, past_key_values=cache, **options)]


def penalized(model) -> Outcome:
    return generate(model, repetition_penalty=1.3, no_repeat_ngram_size=2, bad_words_ids=[[5]])


def stopped(model) -> Outcome:
    return generate(model, eos_token_id=int(generate(model)[0][0, -3]))


def guided(model) -> Outcome:
    return generate(model, guidance_scale=1.5)


def beams_drawn(model) -> Outcome:
    return generate(model, num_beams=3, do_sample=True)


BEHAVIORS = (
    *(embeddings, embeddings_of_a_video, positions, an_image, an_image_and_a_video, no_input),
    *(a_row_alone, a_tuple, hidden_states, some_logits, every_score),
    *(a_gradient, resized_embeddings, traced),
    *(streamed, looked_up_in_the_prompt, continued, penalized, stopped, guided, beams_drawn),
)


@pytest.mark.parametrize("behavior", BEHAVIORS, ids=lambda behavior: behavior.__name__)
@torch.no_grad()
def test_as_stock_does(device, behavior):
    try:
        expected = behavior(make_model())
    except (RuntimeError, IndexError):  # torch.jit.trace of a stock model, 4.57 and 5.4
        assert behavior is traced
        pytest.skip("this transformers cannot be traced")
    model = make_model()
    with intp_video.extend(model, 8, rope="none"):
        got = behavior(model)
    assert len(got) == len(expected)
    for ours, stock in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, stock, atol=1e-4, rtol=0)


@torch.no_grad()
def test_what_is_saved_is_the_stock_model(model, tmp_path):
    with intp_video.extend(model, 8, rope="none"):
        model.save_pretrained(tmp_path)
    again = VideoLlavaForConditionalGeneration.from_pretrained(tmp_path).to(model.device).eval()
    assert again.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(again(**make_inputs(8)).logits, model(**make_inputs(8)).logits)


@pytest.mark.parametrize(
    "inputs",
    [
        lambda: {},
        lambda: make_inputs(8) | {"pixel_values_videos": make_inputs(8)["pixel_values_videos"][:1]},
        lambda: make_inputs(8) | {"inputs_embeds": torch.zeros(2, 50, 64)},
    ],
    ids=["nothing", "a video too few", "ids and embeddings"],
)
def test_inputs_that_stock_refuses(model, inputs):
    with pytest.raises((ValueError, TypeError)):
        model(**inputs())
    with intp_video.extend(model, 8, rope="none"), pytest.raises((ValueError, TypeError)):
        model(**inputs())


def test_export_names_the_way_out(model):
    inputs = {"input_ids": words()[:1], "use_cache": False}
    with intp_video.extend(model, 8), pytest.raises(ModelError, match="restore"):
        torch.export.export(model, (), inputs, strict=False)
