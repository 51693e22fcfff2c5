"""The human study of mask quality (Segment Anything §7.1, §7.4, §E, §G; protocol §9): masks are drawn from runs, shown
to people without saying whose they are, rated from 1 to 10, and compared.

``selection`` draws the masks and makes them again, ``pictures`` makes of them what is shown, ``storage`` keeps jobs and
ratings, ``server`` is the page, ``analysis`` and ``summary`` say what came of it, and ``studies`` is all of that from
the command line's point of view.
"""
