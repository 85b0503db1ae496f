"""How long each party is at work, in closed form: how often it does what, times how long that takes here.

Knows the protocol's operations and how often each party does them; `docs/cost-model.md` says where each term comes
from. Knows nothing of training.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from secagg.masking.sizes import Shape, set_up_traffic
from training.costs.ciphers import CipherTimes, cipher_times
from training.costs.rates import DealTimes, Rates, basis_time, deal_times, rebuilding_time, sharing_time
from training.costs.vectors import ByteTimes, VectorTimes, byte_times, vector_times


@dataclass(frozen=True)
class Times:
    """CPU seconds on this machine, one core each.

    Attributes:
        set_up, coordinator_set_up: a hospital's and the coordinator's part of a key set-up.
        hospital, coordinator: their parts of one round.
    """

    set_up: float
    coordinator_set_up: float
    hospital: float
    coordinator: float


@dataclass(frozen=True)
class Handling:
    """CPU seconds besides what is in messages, measured by `training.costs.handling`.

    Attributes:
        hospital: for each message that a hospital takes, and for the vector that it makes.
        coordinator: for each vector that comes: each finds a process that was waiting for it. Answers come together.
    """

    hospital: float = 0.0
    coordinator: float = 0.0


def times_of(shape: Shape, rates: Rates, handling: Handling) -> Times:
    """Of a set-up and of a round.

    Raises:
        InputError: of `cipher_times`, where something is to be encrypted and this machine cannot.
    """
    costs = _Costs(shape, rates, handling)
    return Times(costs.hospital_set_up(), costs.coordinator_set_up(), costs.hospital_round(), costs.coordinator_round())


@dataclass(frozen=True)
class _Costs:
    shape: Shape
    rates: Rates
    handling: Handling

    @cached_property
    def vector(self) -> VectorTimes:
        return vector_times(self.shape.length, self.shape.bits)

    @cached_property
    def cipher(self) -> CipherTimes:
        return cipher_times(self.shape.form)

    @cached_property
    def sent(self) -> ByteTimes:
        return byte_times(self.shape.vector_bytes)

    @cached_property
    def received(self) -> ByteTimes:
        return byte_times(self.shape.sum_bytes)

    @cached_property
    def deal(self) -> DealTimes:
        return deal_times(self.shape.shared_secrets)

    # --- Key set-up ----------------------------------------------------------------------------------------------

    def hospital_set_up(self) -> float:
        """OPEN: keys and commitments. ROSTER: advertisements checked, secrets shared and dealt. DEALS: opened."""
        shape, rates = self.shape, self.rates
        # Once to advertise, and once more to compare with the roster.
        advertising = 2 * (
            (shape.secret_rounds + 1) * rates.key + (shape.secret_rounds * shape.seeds_a_round + 1) * rates.digest
        )
        roster = (shape.peers + 1) * rates.opening
        agreements = 2 * rates.key + shape.peers * rates.agreement
        # In a sparse graph a hospital's key is loaded once more for each dealer that is no holder of its own, and who
        # holds whose shares is looked up three times for each neighbour.
        if shape.graph:
            agreements += (shape.peers - shape.holders) * rates.key + 3 * shape.peers * shape.holders * rates.member
        # In a complete graph a hospital holds a share of its own.
        points = shape.holders + (0 if shape.graph else 1)
        sharing = shape.shared_secrets * sharing_time(shape.share_threshold, points) if shape.masked else 0
        dealing = shape.holders * (self.deal.sealed + self.deal.opened)
        records = 2 * rates.record + shape.members * rates.sighting
        messages = 3 * (rates.reading + self.handling.hospital) + rates.sealing
        secret = self.cipher.key + self.cipher.context + rates.sealing if shape.encrypted else 0
        return advertising + roster + agreements + sharing + dealing + records + messages + secret

    def coordinator_set_up(self) -> float:
        """Each advertisement and deal checked and passed on; keys of low order found by agreeing with them."""
        shape, rates, n = self.shape, self.rates, self.shape.members
        waiting = n * rates.member
        advertisements = n * (rates.opening + waiting + rates.key + (shape.secret_rounds + 1) * rates.agreement)
        deals = n * shape.holders * (rates.opening + waiting)
        acknowledgements = n * (rates.opening + waiting + self.cipher.context) if shape.encrypted else 0
        passed_on = byte_times(round(set_up_traffic(shape).bytes_down)).sealed * n
        return advertisements + deals + acknowledgements + passed_on

    # --- A round -------------------------------------------------------------------------------------------------

    def hospital_round(self) -> float:
        """BEGIN, MASKED; PROPOSE and AGREE where it takes agreement; UNMASK and REVEAL where it masks; SUM."""
        shape, rates = self.shape, self.rates
        answers = 1 + shape.masked + shape.needs_agreement
        # Besides the answers there is the word that the round begins, and the sum.
        messages = (1 + answers) * rates.reading + (2 + answers) * self.handling.hospital
        messages += (answers - 1) * rates.sealing
        # The vector, each answer for a cohort, or in their place the sum that is opened; and who was seen.
        records = max(1 + answers, 3) * rates.record + shape.survivors * rates.sighting
        cohorts = answers * shape.survivors * rates.survivor
        agreeing = shape.checked_agreements * rates.verification
        tags = 2 * self.vector.tag + len(shape.noise_levels) * self.vector.component
        vectors = self.sent.sealed + self.received.opened
        return messages + records + cohorts + agreeing + tags + vectors + self._masking() + self._opening()

    def _masking(self) -> float:
        """A hospital's vector, masked and packed, or encrypted."""
        shape, rates = self.shape, self.rates
        keys = rates.key + shape.peers * rates.agreement + (shape.peers + 1) * rates.expansion if shape.masked else 0
        if shape.encrypted:
            masks = (shape.peers + 1) * self.cipher.mask if shape.masked else 0
            return keys + self.cipher.encryption + masks
        return keys + self.vector.masking + shape.peers * self.vector.mask

    def _opening(self) -> float:
        """A sum at a hospital: unpacked; or decrypted, for contributors who signed, and rid of its masks."""
        shape, rates = self.shape, self.rates
        if not shape.encrypted:
            return self.vector.unpacking
        reveals = shape.survivors * rates.expansion if shape.masked else 0
        removal = self._removal(self.cipher.mask) if shape.masked else 0
        return shape.survivors * (rates.verification + rates.expansion) + self.cipher.decryption + reveals + removal

    def coordinator_round(self) -> float:
        """Each vector added; each answer checked; the masks taken off, where it is the coordinator who does."""
        shape, rates, s = self.shape, self.rates, self.shape.survivors
        waiting = shape.members * rates.member
        collecting = s * (waiting + self.handling.coordinator + self.sent.opened)
        # Where all hold everybody's shares, as many as the threshold are enough, and who comes later is not read.
        responders = s if shape.graph else shape.threshold
        agreeing = responders * (waiting + rates.opening) if shape.needs_agreement else 0
        if shape.encrypted:
            adding = self.cipher.beginning + s * self.cipher.addition + self.cipher.taking + self.received.sealed
            revealing = s * (rates.opening + waiting) if shape.masked else 0
            return collecting + agreeing + adding + revealing
        held = shape.holders + (0 if shape.graph else 1)
        shares = responders * held * (1 + shape.removed_component_count) * rates.digest
        revealing = responders * (rates.opening + waiting) + shares
        adding = s * self.vector.adding + self.vector.summing
        return collecting + agreeing + adding + revealing + self._removal(self.vector.removal)

    def _removal(self, mask: float) -> float:
        """Secrets rebuilt, masks computed and taken off: by the coordinator, or under double lock by every hospital."""
        shape, rates = self.shape, self.rates
        rebuilding = rebuilding_time(shape.share_threshold) + rates.digest
        # In a sparse graph each hospital's holders are others, so that nothing is computed once for all.
        basis = basis_time(shape.share_threshold) * (shape.members if shape.graph else 1)
        pairs = shape.lone_masks
        # Of noise that is removed only the seeds: how long it takes to draw is its sampler's matter.
        secrets = shape.members + shape.survivors * shape.removed_component_count
        keys = shape.dropped * 2 * rates.key + pairs * rates.agreement + (shape.survivors + pairs) * rates.expansion
        return secrets * rebuilding + basis + keys + (shape.survivors + pairs) * mask
