"""Chains of SOTs, followed side by side from several positions.

Each chain begins with a search for its first SOT. Packets contain no byte pair above FF 8F (T.800 B.10.1), so
FF 90 00 0A is usually a SOT; but COM, SOP or a hostile file can contain the same bytes. A find is therefore followed,
and dropped unless it leads to another SOT. `parallel_walk` and `interpolation_search` choose the positions, and decide
which finds to trust.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from jp2batch.core.errors import CorruptImage
from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.geometry.grid import tile_count
from jp2batch.jpeg2000.locate.completeness import InconsistentFile
from jp2batch.jpeg2000.locate.sot_chain import ChainedTilePart, ChainEnd, may_be_link, read_link
from jp2batch.jpeg2000.locate.sot_proof import SOT, is_genuine_sot, look_back
from jp2batch.jpeg2000.locate.stretches import Gap, KnownStretch, Landmark, Scan
from jp2batch.jpeg2000.locate.tile_parts import TilePartExtent, TileQuery
from jp2batch.jpeg2000.syntax.markers import SOT_SIZE, Sot
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, Steps, Wanted, disjoint, gather, require

_LOCAL_SHORT, _LOCAL_AHEAD = 2 << 10, 32 << 10  # bytes: many short tile-parts of a local file are read together
HOP = 4 << 10
"""Bytes to read at each SOT, to pass short tile-parts together."""


@dataclass
class ChainSearch:
    """State of the chain's exploration, and the generators extending it."""

    query: TileQuery
    goes_on: Callable[[int], bool] = lambda _tile: True
    """Return whether a walk should continue to a tile."""
    needs_proof: Callable[[int], bool] = lambda _tile: False
    """Return whether to prove a search's find at once, by its tile.

    Needed if the chain will not reach the find, but leads on from there to a wanted tile.
    """
    seeks: Callable[[int], bool] = lambda _position: True
    """Return whether a search should continue at a position."""
    outcomes: dict[int, ChainedTilePart | ChainEnd | InconsistentFile | CorruptImage] = field(default_factory=dict)
    """Result at each visited position."""
    hop: int = 0
    """Bytes to read behind the SOT of an unwanted tile-part.

    Short tile-parts are then passed together.
    """
    rounds: int = 0
    """Number of rounds of requests."""
    unproven: int = 0
    """Number of finds without proof yet."""
    _runs: list[KnownStretch] = field(default_factory=list)
    _scans: list[Scan] = field(default_factory=list)
    _open: set[int] = field(default_factory=set)
    _owed: list[ByteRange] = field(default_factory=list)
    _learned: int = 0

    def __post_init__(self) -> None:
        self.pieces, self.header, self.codestream = self.query.pieces, self.query.header, self.query.codestream
        self.count = tile_count(self.header.siz)
        self.end = self.codestream.stop - len(SOT) // 2  # expected position of EOC
        self._last = KnownStretch(self.end, self.count, self.end, self.count, self.end)
        sibling = self.query.sibling
        self.sibling = sibling if sibling is not None and len(sibling.lengths) == self.count else None
        self.mean = max(SOT_SIZE + 2, (self.end - self.header.stop) // self.count)
        is_local = self.query.store.latency == 0 and self.mean < _LOCAL_SHORT
        self._ahead = _LOCAL_AHEAD if is_local else self.query.request_worth // 2
        self.hop = max(self.hop, self._ahead)

    def advance(self, begin: Callable[[], list[Steps[None]] | None]) -> Steps[None]:
        """Run generators side by side until `begin` returns None.

        Before each round, `begin` returns further generators.

        Raises
        ------
        InconsistentFile
            A round has learned nothing and requests nothing.
        """
        running: list[Steps[None]] = []
        wanted: list[Wanted] = []
        known = -1

        def go_on(steps: Steps[None]) -> bool:
            requests = next(steps, None)
            wanted.extend(requests or ())
            return requests is not None

        while True:
            running = [steps for steps in running[::-1] if go_on(steps)][::-1]  # later finds make searches needless
            if (begun := begin()) is None:
                return
            if self._learned == known:
                raise InconsistentFile("the chain of tile-parts cannot be followed")
            known = self._learned
            running += [steps for steps in begun if go_on(steps)]
            if wanted:
                owed, self._owed = self._owed, []
                self.rounds, known = self.rounds + 1, -1
                gaps = (gap for span in owed for gap in self.pieces.missing(*span))
                yield disjoint([*wanted, *(Wanted(gap, gap.start) for gap in gaps)])
                wanted.clear()

    def walk(self, position: int, tile: int) -> Steps[None]:
        """Follow the chain from the start of a tile-part."""
        run = KnownStretch(position, tile, position, tile, position)
        self._runs.append(run)
        yield from self._follow(run)

    def search(
        self, start: int, limit: int, chunk: int, *, further: int | None = None, aside: bool = False
    ) -> Steps[None]:
        """Find the first tile-part between two positions, and follow its chain.

        The first request fetches `chunk` bytes; others `further`, if given.
        """
        scan = Scan(start, limit, aside)
        self._scans.append(scan)
        while scan.position < limit and not self._passed(scan.position) and (aside or self.seeks(scan.position)):
            stop = min(scan.position + chunk, limit)
            data = yield from require(self.pieces, scan.position, min(stop + SOT_SIZE - 1, self.codestream.stop))
            for position, sot in self._candidates(data, scan.position):
                self._scans.remove(scan)
                if position in self.outcomes or position in self._open:
                    return
                run = KnownStretch(position, sot.tile, position, sot.tile, start)
                self._runs.append(run)
                if (yield from self._follow_found(run)):
                    return
                self._runs.remove(run)
                self.outcomes.pop(position, None)
                self._scans.append(scan)
            scan.position, chunk = stop, further or chunk
        self._scans.remove(scan)
        for run in (*self._runs, self._last) if scan.position >= limit else ():
            if run.clear == limit:
                run.clear = start
                self._learned += 1

    def is_open(self, position: int) -> bool:
        """Return whether a read is active at a position."""
        return position in self._open

    @property
    def is_searching(self) -> bool:
        """Whether a search is active."""
        return bool(self._scans)

    def gaps(self) -> Iterator[Gap]:
        """Iterate over the unknown parts of the codestream, in order."""
        runs = sorted(self._runs, key=lambda run: run.start)
        left = KnownStretch(self.header.stop, 0, self.header.stop, 0, self.header.stop)
        for run in [*runs, self._last]:
            if run.start > left.stop:
                scanned = any(left.stop <= scan.position < run.start and not scan.aside for scan in self._scans)
                yield Gap(left.stop, left.tile, run.start, run.first, run.clear, self.is_open(left.stop), scanned)
            if run.stop >= left.stop:
                left = run

    def landmarks(self) -> list[Landmark]:
        """Return the known tiles with their positions, in order."""
        ends = [Landmark(0, self.header.stop), Landmark(self.count, self.end)]
        known = ((Landmark(run.first, run.start), Landmark(run.tile, run.stop)) for run in self._runs)
        return sorted({*ends, *(landmark for pair in known for landmark in pair)})

    def passed(self) -> list[TilePartExtent]:
        """Return the extents of the tile-parts met, in order."""
        links = [link for _, link in sorted(self.outcomes.items()) if isinstance(link, ChainedTilePart)]
        places = enumerate((link.sot.tile, link.start, link.stop - link.start) for link in links)
        return [TilePartExtent(number, *place) for number, place in places]

    def correct_sibling(self) -> None:
        """Widen the deviation of a sibling's lengths, or give them up."""
        if self.sibling is not None:
            self.sibling = self.sibling.corrected(self.landmarks())

    def _follow(self, run: KnownStretch) -> Steps[bool]:
        """Follow the chain; return whether it is genuine.

        It is if the first tile-part leads to another, or to EOC.
        """
        links = 0
        while True:
            outcome = yield from self._come_to(run.stop, run.tile)
            if not isinstance(outcome, ChainedTilePart):
                return links > 1 or (isinstance(outcome, ChainEnd) and outcome.has_eoc)
            links += 1
            last = outcome.sot.part + 1 >= outcome.sot.parts
            run.stop, run.tile = outcome.stop, outcome.sot.tile + last
            if run.stop >= self.end or not self.goes_on(run.tile):
                return True
            if run.stop in self.outcomes or run.stop in self._open:
                return True

    def prove(self, position: int) -> list[Steps[None]]:
        """Prove the finds leading to a position, unless proven."""
        led = [run for run in self._runs if run.start <= position < run.stop and not run.is_proven]
        for run in led:
            run.is_proven = True
        return [self._prove(run) for run in led]

    def _follow_found(self, run: KnownStretch) -> Steps[bool]:
        """Follow the chain of a find; prove it meanwhile, if needed."""
        run.is_proven = self.needs_proof(run.first)
        if not run.is_proven:
            return (yield from self._follow(run))
        self.unproven += 1
        alone = is_genuine_sot(self.pieces, self.header.stop, run.start)
        leads_on, proven = yield from gather([self._follow(run), alone])
        self.unproven -= 1
        self._learned += 1
        if leads_on:
            self._check_proof(run, proven)
        return leads_on

    def _prove(self, run: KnownStretch) -> Steps[None]:
        """Prove a find already followed."""
        self.unproven += 1
        proven = yield from is_genuine_sot(self.pieces, self.header.stop, run.start)
        self.unproven -= 1
        self._learned += 1
        self._check_proof(run, proven)

    def _check_proof(self, run: KnownStretch, proven: bool) -> None:
        if not proven:
            raise InconsistentFile(f"the apparent tile-part at byte {run.start} may be inside a header")
        if self._follows_later_tiles(run):
            raise InconsistentFile(f"tiles may be repeated before byte {run.start}")

    def _follows_later_tiles(self, run: KnownStretch) -> bool:
        """Return whether the bytes before a find show later tiles.

        Only the bytes already read for the proof are checked.
        """
        start = run.start - look_back(self.header.stop, run.start)
        before = self.pieces.read(start, run.start)
        return any(sot.tile >= run.first for _, sot in self._candidates(before, start))

    def _come_to(self, position: int, tile: int) -> Steps[ChainedTilePart | ChainEnd | InconsistentFile | CorruptImage]:
        likely = self.query.ahead(tile, self.mean) if tile in self.query.tiles else Ahead(0, self.hop)
        guess = Ahead(likely.header, max(likely.data, self._ahead))
        outcome: ChainedTilePart | ChainEnd | InconsistentFile | CorruptImage
        self._open.add(position)
        try:
            outcome = yield from read_link(self.query, position, guess)
        except (InconsistentFile, CorruptImage) as problem:
            outcome = problem
        self._open.remove(position)
        self._learned += position not in self.outcomes  # a repeated visit teaches nothing
        self.outcomes[position] = outcome
        if isinstance(outcome, ChainedTilePart) and outcome.part is not None:
            self.query.announce(outcome.part)
            data = self.query.ahead(outcome.sot.tile, outcome.stop - position).data
            packets = ByteRange(outcome.part.data, min(outcome.part.data + data, outcome.stop))
            self._owed += self.query.packets(outcome.part) or [packets]
        return outcome

    def _candidates(self, data: bytes, start: int) -> Iterator[tuple[int, Sot]]:
        offset = data.find(SOT)
        while offset >= 0:
            sot = may_be_link(data[offset : offset + SOT_SIZE], start + offset, self.header, self.codestream)
            if sot is not None:
                yield start + offset, sot
            offset = data.find(SOT, offset + 1)

    def _passed(self, position: int) -> bool:
        return any(run.start <= position < run.stop for run in self._runs)
