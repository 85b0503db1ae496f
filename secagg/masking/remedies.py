"""What to do about another party, where several errors have the same answer."""

from __future__ import annotations

from typing import Final

WITHOUT_MEMBER: Final = "Go on without it, and ask it which release of secagg it runs."
COORDINATOR_LIES: Final = "Tell the other hospitals, and take no part until it is explained."
