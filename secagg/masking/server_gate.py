"""Which messages the coordinator takes: from whom, when, and each once.

Knows headers and sizes. Knows nothing of what is in a message, and of states only which messages are in turn:
`secagg.masking.states`.
"""

from __future__ import annotations

from secagg.errors import RemoteProtocolError
from secagg.masking.limits import payload_limit
from secagg.masking.remedies import WITHOUT_MEMBER
from secagg.masking.session import Session
from secagg.masking.states import ServerState, stages_in_turn
from secagg.wire import COORDINATOR, Envelope, Header, Stage, open_envelope
from secagg.wire.envelope import check_size, name_of, peek

_OF_SET_UP = frozenset({Stage.ADVERTISE, Stage.DEAL, Stage.ACKNOWLEDGE})
_ANSWERED_IN = {Stage.AGREE: ServerState.AGREEING, Stage.REVEAL: ServerState.UNMASKING}

_Place = tuple[Stage, int, int, int]


class Gate:
    """Looks at every message, and remembers which were taken since it was made."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._seen: dict[_Place, bytes] = {}

    def is_too_late(self, message: bytes, state: ServerState, round_number: int) -> bool:
        """Whether a message is in turn, but no longer needed: enough others came before it.

        Nothing comes of it, so that nobody need check its signature.

        Raises:
            RemoteProtocolError: ``malformed``.
        """
        header = peek(message)
        wanted = _ANSWERED_IN.get(header.stage)
        if wanted is None or header.stage not in stages_in_turn(state):
            return False
        return state is not wanted or header.round != round_number

    def open(self, sender: int, message: bytes, state: ServerState, participants: frozenset[int]) -> Envelope:
        """The message, if it is one that ``sender`` signed, and may send in this state.

        Raises:
            RemoteProtocolError: as `open_envelope`; ``wrong-sender``, ``not-taking-part``, ``unexpected-message``,
                ``other-epoch``, ``other-round``, ``other-recipient`` or ``oversized``.
        """
        charter = self._session.charter
        envelope = open_envelope(message, charter, largest_payload(self._session, state))
        header = envelope.header
        name = name_of(header, charter)
        if header.sender != sender:
            raise RemoteProtocolError("wrong-sender", f"A message in the name of {name} is not its own.", culprit=name)
        if sender not in participants:
            raise RemoteProtocolError("not-taking-part", f"{name} takes no part in this epoch, or no longer.")
        self._require_in_turn(header, state, name)
        self._require_addressed(header, name)
        check_size(message, payload_limit(self._session, header.stage), name)
        return envelope

    def _require_in_turn(self, header: Header, state: ServerState, name: str) -> None:
        if header.stage not in stages_in_turn(state):
            raise RemoteProtocolError(
                "unexpected-message", f"{name} sent {header.stage.name} while {state.value}.", culprit=name
            )
        if header.epoch != self._session.epoch:
            raise RemoteProtocolError("other-epoch", f"{name} sent a message of epoch {header.epoch}.", culprit=name)
        if (header.round == 0) != (header.stage in _OF_SET_UP) and header.stage is not Stage.REFUSAL:
            raise RemoteProtocolError("other-round", f"{name} numbered its message for another round.", culprit=name)

    def _require_addressed(self, header: Header, name: str) -> None:
        """Hospitals write headers of others anew, to check their signatures: the recipient is not theirs to choose."""
        if header.recipient != COORDINATOR and header.stage is not Stage.DEAL:
            raise RemoteProtocolError(
                "other-recipient", f"{name} addressed a {header.stage.name} message to a member.", culprit=name
            )

    def is_repeated(self, header: Header) -> bool:
        """Whether it was taken before.

        Raises:
            RemoteProtocolError: ``equivocation``: another was taken in its place.
        """
        seen = self._seen.get(_place_of(header))
        if seen is not None and seen != header.payload_digest:
            name = name_of(header, self._session.charter)
            raise RemoteProtocolError(
                "equivocation",
                f"{name} sent two different {header.stage.name} messages.",
                culprit=name,
                remedy=WITHOUT_MEMBER,
            )
        return seen is not None

    def remember(self, header: Header) -> None:
        """Note that it was taken."""
        self._seen[_place_of(header)] = header.payload_digest


def largest_payload(session: Session, state: ServerState) -> int:
    """How large a payload may be, in bytes, of any message that is in turn; 0 if none is."""
    return max((payload_limit(session, stage) for stage in stages_in_turn(state)), default=0)


def is_acknowledgement(message: bytes) -> bool:
    """Whether it says to be one: a coordinator keeps those alone that it has taken."""
    try:
        return peek(message).stage is Stage.ACKNOWLEDGE
    except RemoteProtocolError:
        return False


def _place_of(header: Header) -> _Place:
    return header.stage, header.sender, header.recipient, header.round
