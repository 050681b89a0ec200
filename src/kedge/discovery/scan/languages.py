"""Languages of a scan by file name, and the files that are read."""

import re
from typing import Final

from kedge.discovery.ir import Language
from kedge.discovery.scan.walking import Wanted

PYTHON: Final = frozenset({".py"})
JAVASCRIPT: Final[dict[str, Language]] = {
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs"), "javascript"),
    **dict.fromkeys((".ts", ".tsx", ".mts", ".cts", ".vue", ".svelte", ".astro"), "typescript"),
}
NOTEBOOK: Final = ".ipynb"
_CONFIGURATION = re.compile(
    r"(?:^|/)(?:"
    r"[^/]+\.(?:ya?ml|tf|prisma)"
    r"|langgraph[^/]*\.json|package\.json|[tj]sconfig[^/]*\.json|wrangler\.jsonc?"
    r"|(?:wrangler|fly)[^/]*\.toml|supabase/config\.toml"
    r"|[^/]*(?:Docker|Container)file[^/]*"
    r"|\.env[^/]*|[^/]+\.env"
    r"|templates/(?:.*/)?[^/]+\.tpl"
    r")$"
)
WANTED: Final = Wanted(frozenset({*PYTHON, *JAVASCRIPT, NOTEBOOK}), _CONFIGURATION)
