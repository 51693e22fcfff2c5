"""One file a family: ``CARDS``, a tuple of :class:`sambench.models.cards.ModelCard`. Nothing here imports torch."""
