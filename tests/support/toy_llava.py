"""A LLaVA of the real classes at toy size, saved as such models lie in a folder; random, or taught a few answers by heart.

Use: `folder = toy_llava(tmp_path / "llava", words=["Is it real?", "real", "attack"])`, then
`teach(folder, [(picture, question, answer)])`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

SMALL = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% for part in m.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}\n{% endfor %}assistant:"
)


def toy_llava(folder: Path, words: Sequence[str] = (), template: str | None = TEMPLATE) -> Path:
    """The folder of a new model; its vocabulary is made of `words`."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from faceshield.model.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["this is a face before a wall", *words], vocab_size=400 if words else 300)
    tokenizer.model_max_length = 4096
    torch.manual_seed(0)
    vision = CLIPVisionConfig(**SMALL, image_size=32, patch_size=16)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = LlamaConfig(**SMALL, vocab_size=len(tokenizer), **ids)
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=image_token, vision_feature_layer=-1)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        image_processor=pictures, tokenizer=tokenizer, patch_size=16, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=template,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def teach(folder: Path, lessons: Sequence[tuple[Image.Image, str, str]], steps: int = 80) -> None:
    """Trains the model in the folder until it gives each picture and question its answer."""
    import torch
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    model: Any = LlavaForConditionalGeneration.from_pretrained(folder).train()
    processor = AutoProcessor.from_pretrained(folder)
    batches = []
    for picture, question, answer in lessons:
        asked = [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": question}]}]
        batch = processor.apply_chat_template(
            asked, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        said = processor.tokenizer(answer, add_special_tokens=False)["input_ids"] + [processor.tokenizer.eos_token_id]
        ids = torch.cat([batch["input_ids"], torch.tensor([said])], dim=1)
        labels = ids.clone()
        labels[:, : batch["input_ids"].shape[1]] = -100
        batches.append({"input_ids": ids, "labels": labels, "pixel_values": batch["pixel_values"]})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        for batch in batches:
            model(**batch).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
