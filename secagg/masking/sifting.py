"""Secrets rebuilt although some shares are wrong: where nobody could check them as they came.

Knows shares and who gave them. Where the coordinator cannot read shares it cannot compare them with what dealers
signed; the hospitals, who can read them, have not seen what others were dealt. They have the commitment to the secret,
and more shares than it takes: `error_correction` finds what the secret is if few of them are wrong, and the commitment
says whether it is.
"""

from __future__ import annotations

from collections.abc import Callable

from secagg.errors import RemoteProtocolError
from secagg.masking import shamir
from secagg.masking.error_correction import correctable, corrections
from secagg.masking.rebuilding import Rebuilding


class Sifting(Rebuilding):
    """As `Rebuilding`, of shares that nobody has checked.

    Attributes:
        doubtful: whose share of some secret was left out to rebuild it. Of other secrets theirs are taken last, and
            not refused: who dealt that one may have given wrong shares to honest hospitals.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.doubtful: frozenset[int] = frozenset()

    def rebuild(self, owner: int, is_right: Callable[[bytes], bool]) -> bytes:
        """The secret of ``owner``, from whichever shares give it.

        Raises:
            RemoteProtocolError: ``wrong-share``, if more are wrong than can be told apart.
        """
        shares, threshold = self.shares[owner], self.session.share_threshold
        chosen = sorted(shares, key=lambda point: (point in self.doubtful, point))[:threshold]
        secret = shamir.reconstruct({point: shares[point] for point in chosen})
        if is_right(secret):
            return secret
        for left_out, secret in corrections(shares, threshold):
            if is_right(secret):
                self.doubtful |= left_out
                return secret
        raise self._too_many_wrong(owner)

    def _too_many_wrong(self, owner: int) -> RemoteProtocolError:
        name, came = self.session.name(owner), len(self.shares[owner])
        most = correctable(came, self.session.share_threshold)
        return RemoteProtocolError(
            "wrong-share",
            f"The {came} shares of {name} that came do not give what it committed to: more than {most} of those who "
            f"gave them lie, or {name} dealt wrong ones.",
            remedy="Begin the round again: the more answer, the more wrong shares can be told apart.",
        )
