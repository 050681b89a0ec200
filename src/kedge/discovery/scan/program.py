"""All modules of a repository, resolved: where its code opens, changes and attaches stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from kedge.discovery.ir import Module
from kedge.discovery.scan.indexing import index_module
from kedge.discovery.scan.matching import Finding, Matcher, merged
from kedge.discovery.scan.resolver import Resolver
from kedge.discovery.scan.rules import Rules
from kedge.discovery.scan.scopes import ModuleIndex
from kedge.discovery.scan.selectors import Selectors, common, is_live
from kedge.discovery.scan.updates import Updates
from kedge.discovery.scan.writers import Writers
from kedge.discovery.sites import Evidence, Selector, Site


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
        matcher = Matcher(self.resolver)
        writers = Writers(self.resolver, matcher)
        groups = list(matcher.findings())
        groups += writers.statements()
        writes = [each for group in groups for each in group if each.site_class == "write"]
        updates = list(Updates(self.resolver).findings(matcher.commits, writes))
        groups += ([each] for each in updates)
        groups += writers.calls([*writes, *updates])
        placed = [each for group in groups for each in merged(group) if each.site_class in {"bind", "attach"}]
        selectors = Selectors(self.resolver).select(placed)
        chosen = {each.place: selectors[each] for each in placed if each.site_class == "bind" and each in selectors}
        sites: set[Site] = set()
        for group in groups:
            live = self._live(group, chosen)
            for finding in merged(live):
                origins = {each.origin for each in live if each.origin is not None and each.store == finding.store}
                inherited = common(chosen.get(origin) for origin in origins)
                sites.add(self._site(finding, selectors.get(finding) or inherited))
        return sorted(sites)

    def _live(self, group: list[Finding], selectors: Mapping[tuple[str, int], Selector]) -> list[Finding]:
        """Return the alternatives of a call that the environment does not put out of use."""
        if not self.environment:
            return group
        kept = [
            finding
            for finding in group
            if finding.origin is None
            or finding.origin not in selectors
            or is_live(selectors[finding.origin], self.environment) is not False
        ]
        return kept or group

    def module_of(self, path: str) -> Module | None:
        """Return the module at a path."""
        index = self.indexes.get(path)
        return index.module if index is not None else None

    def _site(self, finding: Finding, selector: Selector | None) -> Site:
        path, line = finding.scope.module.module.place(finding.line)
        return Site(
            path=path,
            line=line,
            site_class=finding.site_class,
            store=finding.store,
            kind=finding.kind,
            function=finding.scope.name or "<module>",
            selector=selector,
            evidence=tuple(map(self._in_cell, finding.evidence)),
            confidence=finding.confidence,
            target=finding.target,
        )

    def _in_cell(self, evidence: Evidence) -> Evidence:
        module = self.module_of(evidence.path)
        if module is None or not module.cells:
            return evidence
        path, line = module.place(evidence.line)
        return msgspec.structs.replace(evidence, path=path, line=line)
