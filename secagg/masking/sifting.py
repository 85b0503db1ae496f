"""Secrets rebuilt although some shares are wrong: where nobody could check them as they came.

Knows shares and who gave them. Where the coordinator cannot read shares it cannot compare them with what dealers
signed; the hospitals, who can read them, have not seen what others were dealt. They have the commitment to the secret:
any t right shares give it. With more than t shares, those who gave wrong ones can be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, islice
from typing import Final

from secagg.errors import RemoteProtocolError
from secagg.masking import shamir
from secagg.masking.rebuilding import Rebuilding, lowest

# Each takes some milliseconds for a hundred hospitals: enough for one liar in any consortium, for two among thirty. A
# dealer whose shares fit no polynomial costs all of them, each round.
MOST_TRIES: Final = 500


class Sifting(Rebuilding):
    """As `Rebuilding`, of shares that nobody has checked.

    Attributes:
        liars: who gave a wrong share, or none that could be read; none of theirs is used.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.liars: frozenset[int] = frozenset()

    def rebuild(self, owner: int, is_right: Callable[[bytes], bool]) -> bytes:
        """The secret of ``owner``, from whichever shares give it.

        Raises:
            RemoteProtocolError: ``wrong-share``, if none do.
        """
        threshold = self.session.share_threshold
        shares = {point: share for point, share in self.shares[owner].items() if point not in self.liars}
        for tries, chosen in enumerate(islice(_choices(shares, threshold), MOST_TRIES)):
            secret = shamir.reconstruct(chosen)
            if is_right(secret):
                if tries:
                    self.liars |= {point for point in shares if shamir.interpolate(chosen, point) != shares[point]}
                return secret
        name = self.session.name(owner)
        raise RemoteProtocolError(
            "wrong-share",
            f"No {threshold} of the {len(shares)} shares of {name} that came give what it committed to: some who gave "
            f"them lie, or {name} dealt wrong ones.",
            remedy="Begin the round again: with more than the threshold answering, wrong shares can be told apart.",
        )


def _choices(shares: Mapping[int, bytes], threshold: int) -> Iterator[dict[int, bytes]]:
    """All shares but nobody's, but each one's, but each two's, ...: of what is left, the lowest, no set twice."""
    seen = set()
    for count in range(len(shares) - threshold + 1):
        # Leaving out what is not among the lowest changes nothing.
        for excluded in combinations(sorted(shares)[: threshold + count - 1] if count else (), count):
            chosen = lowest({point: share for point, share in shares.items() if point not in excluded}, threshold)
            if tuple(chosen) not in seen:
                seen.add(tuple(chosen))
                yield chosen
