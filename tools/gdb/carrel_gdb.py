"""gdb's view of carrel: the command `carrel ptr ADDRESS` tells what lies at an address.

    (gdb) carrel ptr block
    0x7f...: live, class 7 (112 bytes), slot 3 of 585, slab at 0x7f..., shard 0

It reads the heap's own records, in a live process or a core dump, calls nothing in the program and
takes no lock. It needs carrel's debug information (libcarrel is built with -g). What another thread
is doing at that moment may be half done. A block in a hardened build's quarantine is called free.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple

import gdb

GRANULE_SHIFT = 16
GUARDED_BLOCK = 60
ARENA_BLOCK = 62
LARGE_BLOCK = 63
NO_SHARD = 0xFFFF
SPAN_STATES = ("unused", "free", "being purged", "large", "kept for the next large block", "slab")


class Slot(NamedTuple):
    bytes: int
    slots: int


def class_of(number: int) -> Slot:
    """The sizes of slab/size_class.h: a table that compilers may leave out of the library."""
    if number <= 8:
        size = number * 16
    else:
        step = number - 9
        size = (128 << step // 4) + (32 << step // 4) * (step % 4 + 1)
    granules = 1
    while (granules << GRANULE_SHIFT) // size < 8:
        granules *= 2
    return Slot(size, (granules << GRANULE_SHIFT) // size)


def raw(value: gdb.Value) -> gdb.Value:
    """What an atomic or a Relaxed holds: both are nothing but their value."""
    inner = value.type.strip_typedefs().template_argument(0)
    return value.address.cast(inner.pointer()).dereference()


def process_heap() -> gdb.Value:
    name = "carrel::core::process_heap"
    symbol = gdb.lookup_global_symbol(name) or gdb.lookup_static_symbol(name)
    if symbol is None:
        raise gdb.GdbError(f"carrel: no {name} here: is carrel loaded, with debug information?")
    return symbol.value()


def thread_caches(heap: gdb.Value) -> Iterator[gdb.Value]:
    cache = heap["registry_"]["caches_"]["head_"]
    while int(cache) != 0:
        yield cache.dereference()
        cache = cache["next"]


def caching_thread(heap: gdb.Value, address: int) -> int | None:
    """The number, counted from the newest, of the thread cache that holds the block."""
    for number, cache in enumerate(thread_caches(heap)):
        bins = cache["bins"]
        first, last = bins.type.range()
        for index in range(first, last + 1):
            floor, top = bins[index]["floor"], bins[index]["top"]
            for place in range(int(top - floor) if int(floor) != 0 else 0):
                if int(floor[place]) == address:
                    return number
    return None


def holder(span: gdb.Value) -> str:
    arena, shard = int(raw(span["arena"])), int(raw(span["shard"]))
    return f"arena {arena}" if shard == NO_SHARD else f"shard {shard}"


def describe_slot(heap: gdb.Value, span: gdb.Value, start: int, address: int) -> str:
    number = int(raw(span["size_class"]))
    size, slots = class_of(number)
    slot = (address - start) // size
    place = f"class {number} ({size} bytes), "
    if slot >= slots:
        return f"behind the last slot of a slab, {place}slab at {start:#x}, {holder(span)}"
    block = start + slot * size
    free = int(span["free_bits"][slot // 64]) >> (slot % 64) & 1
    state = "free" if free else "live"
    if not free:
        thread = caching_thread(heap, block)
        if thread is not None:
            state = f"cached by thread cache {thread}"
        elif int(heap["map_"]["records_"]) != 0 and int(raw(span["shard"])) != NO_SHARD:
            state = hardened_state(heap, block, number)
    where = "" if block == address else f", {address - block} bytes into the block at {block:#x}"
    return f"{state}, {place}slot {slot} of {slots}, slab at {start:#x}, {holder(span)}{where}"


def hardened_state(heap: gdb.Value, block: int, number: int) -> str:
    """What the record of slab/slot_guard.h says: a byte a slot, two for more than 1 KiB."""
    record = int(heap["map_"]["records_"]) + ((block - int(heap["map_"]["base_"])) >> 4)
    wide = class_of(number).bytes > 1024
    kind = gdb.lookup_type("unsigned short" if wide else "unsigned char").pointer()
    value = int(gdb.Value(record).cast(kind).dereference())
    if value == 0:
        return "not yet handed out"
    return "free (in quarantine)" if value == (0xFFFF if wide else 0xFF) else "live"


def describe_guarded(heap: gdb.Value, address: int) -> str:
    """An address among the sampled blocks of a hardened build: the nearest block."""
    nearest, best = "between guard pages, near no block", 1 << 64
    slots = heap["slots_"]
    for number in range(int(raw(slots["made_"]))):
        slot = raw(slots["slots_"][number]).dereference()
        start, size = int(raw(slot["block"])), int(raw(slot["size"]))
        distance = max(start - address, address - start - size + 1, 0)
        if start == 0 or distance >= best:
            continue
        state = "live" if int(raw(slot["state"])) == 1 else "freed"
        where = ("" if address == start else
                 f", {address - start} bytes into it" if distance == 0 else
                 f", {distance} bytes beside it")
        nearest, best = f"{state}, sampled, {size} bytes at {start:#x}{where}", distance
    return nearest


def describe(address: int) -> str:
    heap = process_heap()
    pages = heap["map_"]
    base, count = int(pages["base_"]), int(raw(pages["granule_count_"]))
    index = (address - base) >> GRANULE_SHIFT
    if base == 0 or not 0 <= index < count:
        return "not carrel's: outside its heap"
    value = int(raw(pages["class_map_"][index]))
    if value == GUARDED_BLOCK:
        return describe_guarded(heap, address)
    # Only the first and the last granule of a free or large span lead to it.
    for at in range(index, -1, -1):
        pointer = raw(pages["granules_"][at]["span"])
        if int(pointer) == 0:
            continue
        span = pointer.dereference()
        first, granules = int(span["first"]), int(span["count"])
        state = SPAN_STATES[int(raw(span["state"]))]
        if state == "unused" or not first <= index < first + granules:
            continue
        start = base + (first << GRANULE_SHIFT)
        if state == "slab":
            return describe_slot(heap, span, start, address)
        if state == "large":
            size = int(span["large_bytes"])
            # In a hardened build the block begins behind a fence, where the class map says so.
            block = next((at for at in range(first, first + granules) if int(raw(
                pages["class_map_"][at])) in (LARGE_BLOCK, ARENA_BLOCK)), first)
            start = base + (block << GRANULE_SHIFT)
            if address < start:
                return f"in the fence before the large block at {start:#x}"
            owner = f", {holder(span)}" if value == ARENA_BLOCK else ""
            if address >= start + size:
                return f"behind the large block at {start:#x} of {size} bytes{owner}"
            into = "" if address == start else f", {address - start} bytes into it"
            return f"live, large, {size} bytes at {start:#x}{owner}{into}"
        return f"{state}: a span of {granules} granules of 64 KiB at {start:#x}"
    return "in carrel's heap, and in no span"


class CarrelPrefix(gdb.Command):
    """What carrel, the memory allocator, knows. See `help carrel ptr`."""

    def __init__(self) -> None:
        super().__init__("carrel", gdb.COMMAND_DATA, prefix=True)


class CarrelPtr(gdb.Command):
    """carrel ptr EXPRESSION: what lies there: state, class, slab, and shard or arena."""

    def __init__(self) -> None:
        super().__init__("carrel ptr", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument: str, from_tty: bool) -> None:
        if not argument:
            raise gdb.GdbError("carrel ptr needs an address, for example: carrel ptr pointer")
        address = int(gdb.parse_and_eval(argument).cast(gdb.lookup_type("unsigned long")))
        gdb.write(f"{address:#x}: {describe(address)}\n")


CarrelPrefix()
CarrelPtr()
