"""Ways to cache keys and values, and to attend to them, by their options."""

from __future__ import annotations

from dataclasses import dataclass

import intp_ext


@dataclass(frozen=True)
class Scheme:
    """A cache of the layers; window and RoPE of those that have no window of their own.

    Attributes:
        bits, recent, sink, key_group, value_group: of :class:`intp_ext.KVCache`.
        backend: "intp"; "quanto": transformers' QuantizedCache as it comes, which gives keys a
            scale for each token; "quanto_channel": the same with keys per channel, as KIVI has
            them (``axis_key=-1``).
        layers: "all"; "full": those with a sliding window keep 16 bits, as they do where their
            cache is transformers' own, which holds no more than the window.
        window: the newest tokens that full attention is restricted to; None: it sees all.
        window_sink: the first tokens that it sees as well.
        rope: how its positions are stretched beyond the trained context
            (:func:`intp_ext.rope_frequencies`); None: as in training.
    """

    bits: float = 16
    recent: int = 0
    sink: int = 0
    key_group: int = 64
    value_group: int = 64
    layers: str = "all"
    backend: str = "intp"
    window: int | None = None
    window_sink: int = 0
    rope: str | None = None

    @property
    def name(self) -> str:
        """Bits, and what is not as in a KVCache that is given bits alone."""
        parts = [f"{self.bits} bits"]
        parts += ["QuantizedCache"] if self.quanto else []
        parts += ["keys per channel"] if self.backend == "quanto_channel" else []
        parts += [f"recent {self.recent}"] if self.recent else []
        parts += [f"sink {self.sink}"] if self.sink else []
        unit = "chunks" if self.bits == 16 else "key groups"
        usual = intp_ext.KVCache(self.bits).key_group
        parts += [f"{unit} of {self.key_group}"] if self.key_group != usual else []
        parts += [f"value groups of {self.value_group}"] if self.value_group != 64 else []
        parts += ["full layers alone"] if self.layers == "full" else []
        parts += [f"window {self.window}"] if self.window else []
        parts += [f"window sink {self.window_sink}"] if self.window_sink else []
        parts += [f"RoPE {self.rope}"] if self.rope else []
        return ", ".join(parts)

    @property
    def quanto(self) -> bool:
        return self.backend != "intp"

    def make(self) -> intp_ext.KVCache:
        """An empty cache of one layer."""
        return intp_ext.KVCache(
            self.bits,
            key_group=self.key_group,
            value_group=self.value_group,
            recent=self.recent,
            sink=self.sink,
        )


EXACT = Scheme()
