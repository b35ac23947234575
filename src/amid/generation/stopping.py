"""Stop strings: whether a response contains one, asked only when its last token could have completed one."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def cut_at_stop(text: str, stops: Sequence[str]) -> str:
    """The text before its first stop string."""
    return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]


class StopStrings:
    """Texts before which a response ends, and the decoder that makes text of tokens.

    decode: token ids to text, as the caller reads responses (special tokens left out).
    """

    def __init__(self, texts: Sequence[str], *, decode: Callable[[Sequence[int]], str]) -> None:
        self._texts = tuple(texts)
        self._decode = decode
        self._last_characters = {text[-1] for text in self._texts}
        self._may_complete: dict[int, bool] = {}

    def found(self, response: Sequence[int]) -> bool:
        """Whether the response, of which every shorter beginning was asked about, contains a stop string."""
        if not self._texts or not response or not self._can_complete(response[-1]):
            return False
        text = self._decode(response)
        return any(stop in text for stop in self._texts)

    def _can_complete(self, token: int) -> bool:
        if token not in self._may_complete:
            text = self._decode([token])
            # A piece of a character cannot be read alone, and some tokenizers drop a blank at the beginning.
            unclear = "\ufffd" in text or " " in self._last_characters
            self._may_complete[token] = unclear or not self._last_characters.isdisjoint(text)
        return self._may_complete[token]
