"""NVFlare's maker of certificates, which keeps the authority's key in memory alone."""

from __future__ import annotations

from nvflare.lighter.ctx import ProvisionContext
from nvflare.lighter.entity import Project
from nvflare.lighter.impl.cert import CertBuilder


class ForgetfulCertBuilder(CertBuilder):  # type: ignore[misc]
    """NVFlare's, without the file in which it keeps all keys for the next time: in clear, the authority's too."""

    def finalize(self, project: Project, ctx: ProvisionContext) -> None:
        """Write nothing: the kits have been written, and the authority is kept by `authority`."""
