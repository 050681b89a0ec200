"""Retriever of LangChain over one or several collections of Kedge."""

from typing import Any

from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from kedge.integrations.langchain.vectorstore import KedgeVectorStore


class KedgeRetriever(BaseRetriever):  # type: ignore[misc]  # its package need not be installed
    """The documents nearest to a query, best first: of a vector store, and of further collections of its embedder.

    All are searched at one epoch, so that a rollback between two of them is not seen in part.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    store: KedgeVectorStore
    k: int = 4
    filter: dict[str, Any] | None = None
    also: tuple[str, ...] = ()

    def _get_relevant_documents(self, query: str, *, run_manager: Any, **options: Any) -> list[Any]:
        del run_manager
        return [document for document, _ in self.store.similarity_search_with_score(query, **self._asked(options))]

    async def _aget_relevant_documents(self, query: str, *, run_manager: Any, **options: Any) -> list[Any]:
        del run_manager
        found = await self.store.asimilarity_search_with_score(query, **self._asked(options))
        return [document for document, _ in found]

    def _asked(self, options: dict[str, Any]) -> dict[str, Any]:
        return {"k": self.k, "filter": self.filter, "also": self.also} | options
