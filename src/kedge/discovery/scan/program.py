"""All modules of a repository, resolved: where its code opens, changes and attaches stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kedge.discovery.ir import Module
from kedge.discovery.scan.matching import Finding, Matcher
from kedge.discovery.scan.resolver import Resolver
from kedge.discovery.scan.rules import Rules
from kedge.discovery.scan.scopes import ModuleIndex, index_module
from kedge.discovery.sites import Site


class Program:
    """The modules of a repository, under one set of rules."""

    def __init__(
        self,
        modules: Sequence[Module],
        rules: Rules,
        environment: Mapping[str, str] | None = None,
        configuration: Mapping[str, bytes] | None = None,
    ) -> None:
        """Index the modules.

        `environment`: variables that are known, as of `--env FILE`. `configuration`: contents of `tsconfig.json`,
        `package.json` and the like by path, for the imports of JavaScript.
        """
        self.environment = dict(environment or {})
        self.rules = rules
        self.indexes: dict[str, ModuleIndex] = {}
        for module in sorted(modules, key=lambda module: module.path):
            self.indexes[module.path] = index_module(module)
        self.resolver = Resolver(list(self.indexes.values()), rules, configuration)

    def sites(self) -> list[Site]:
        """Return the sites of the code, in order."""
        findings = list(Matcher(self.resolver).findings())
        return sorted({self._site(finding) for finding in findings})

    def module_of(self, path: str) -> Module | None:
        """Return the module at a path."""
        index = self.indexes.get(path)
        return index.module if index is not None else None

    def _site(self, finding: Finding) -> Site:
        module = finding.scope.module.module
        path, line = module.path, finding.line
        for cell in reversed(module.cells):
            if line > cell.before:
                path, line = f"{path}:cell{cell.number}", line - cell.before
                break
        return Site(
            path=path,
            line=line,
            site_class=finding.site_class,
            store=finding.store,
            kind=finding.kind,
            function=finding.scope.name or "<module>",
            evidence=finding.evidence,
            confidence=finding.confidence,
            target=finding.target,
        )
