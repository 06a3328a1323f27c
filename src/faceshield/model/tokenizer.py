"""The tiny model's tokenizer, a byte-level BPE trained on its instruction corpus (the paper uses Phi-3's).

Use: `tokenizer = train_tokenizer(texts, vocab_size=512)`.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END, PAD, IMAGE = "<|endoftext|>", "<|pad|>", "<image>"


def train_tokenizer(texts: Iterable[str], vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE: any text can be encoded, digits are separate pieces, a word's piece includes the space before it.

    Args:
        texts: Corpus: questions, answers, and the system sentence.
        vocab_size: Total number of pieces, including the 3 special ones and 256 bytes.

    Raises:
        ValueError: The vocabulary is too small for the bytes.
    """
    if vocab_size < 260:
        raise ValueError(f"vocab_size {vocab_size} — expected at least 260, 256 bytes and 3 special pieces — raise it")
    tokenizer = Tokenizer(models.BPE())
    # Coordinates are split into digits: a number has as many pieces as digits, and nearby numbers share pieces.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END, PAD, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # In a conversation nearly every text follows a space; trained without it, each first word would cost an extra piece.
    tokenizer.train_from_iterator((f" {text}" for text in texts), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[IMAGE],
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
