"""z3: integers, bit vectors, arrays, strings, quantifiers and optimisation, alone and with its
parallel solver; the scripts are written here, and their known answers are demanded too."""

from harness import App, find, main
from proof import Failure


def pigeons(holes: int) -> str:
    """One pigeon more than holes: unsatisfiable, and hard enough to fill the clause database."""
    lines = []
    for p in range(holes + 1):
        lines += [f"(declare-const p{p}_{h} Bool)" for h in range(holes)]
        lines.append(f"(assert (or {' '.join(f'p{p}_{h}' for h in range(holes))}))")
    for h in range(holes):
        for p in range(holes + 1):
            lines += [f"(assert (or (not p{p}_{h}) (not p{q}_{h})))" for q in range(p)]
    return "\n".join(lines + ["(check-sat)"])


def square(size: int) -> str:
    """A magic square as bit vectors; answers sat, and prints that the model adds up."""
    cells = [[f"c{r}_{c}" for c in range(size)] for r in range(size)]
    flat = [cell for row in cells for cell in row]
    total = size * (size * size + 1) // 2
    lines = [f"(declare-const {cell} (_ BitVec 8))" for cell in flat]
    lines += [f"(assert (and (bvuge {cell} #x01) (bvule {cell} #x{size * size:02x})))"
              for cell in flat]
    lines.append(f"(assert (distinct {' '.join(flat)}))")
    sums = cells + [list(column) for column in zip(*cells)]
    sums += [[cells[i][i] for i in range(size)], [cells[i][size - 1 - i] for i in range(size)]]
    lines += [f"(assert (= (bvadd {' '.join(line)}) #x{total:02x}))" for line in sums]
    lines.append("(check-sat)")
    lines += [f"(eval (= (bvadd {' '.join(line)}) #x{total:02x}))" for line in sums]
    return "\n".join(lines)


def factors(number: int, bits: int) -> str:
    """Two numbers above one whose product is the given one: a multiplier, bit blasted."""
    wide = 2 * bits
    return f"""
(declare-const a (_ BitVec {bits}))
(declare-const b (_ BitVec {bits}))
(assert (bvugt a (_ bv1 {bits})))
(assert (bvule a b))
(assert (= (bvmul ((_ zero_extend {bits}) a) ((_ zero_extend {bits}) b)) (_ bv{number} {wide})))
(check-sat)"""


MIXED = """
(declare-fun f (Int) Int)
(declare-const m (Array Int Int))
(declare-const s String)
(declare-const x Int)
(declare-const y Int)
(declare-const r Real)
(push)
(assert (forall ((i Int)) (=> (and (<= 0 i) (< i 20)) (= (f (+ i 1)) (+ (f i) (* 2 i))))))
(assert (= (f 0) 3))
(assert (not (= (f 12) 135)))
(check-sat)
(pop)
(push)
(assert (= (select (store (store m x 5) y 7) x) 5))
(assert (= x y))
(check-sat)
(pop)
(push)
(assert (= (str.++ s "-" s) "abcabc-abcabc"))
(assert (> (str.len s) 3))
(check-sat)
(get-value (s))
(pop)
(push)
(assert (and (> (* r r r) 2.0) (< (* r r) 1.5)))
(check-sat)
(pop)
(push)
(assert (and (>= (+ (* 3 x) (* 5 y)) 101) (<= x 20) (<= y 30) (>= x 0) (>= y 0)))
(minimize (+ (* 7 x) (* 11 y)))
(check-sat)
(get-objectives)
(pop)
(push)
(assert (= (+ (* 6 x) (* 10 y)) 15))
(check-sat)
(pop)
"""

MIXED_ANSWERS = ["unsat", "unsat", "sat", '((s "abcabc"))', "unsat", "sat", "(objectives",
                 " ((+ (* 7 x) (* 11 y)) 223)", ")", "unsat"]

SCRIPTS = {
    "pigeons": (pigeons(8), ["unsat"]),
    "magic square": (square(4), ["sat"] + ["true"] * 10),
    "factors of a prime": (factors(1046527, 11), ["unsat"]),
    "factors of a product": (factors(2039 * 2029, 12), ["sat"]),
    "mixed theories": (MIXED, MIXED_ANSWERS),
}


def check(what: str, printed: str, known: list[str]) -> None:
    lines = printed.splitlines()
    if lines != known:
        raise Failure(f"{what}: z3 answered {lines} instead of {known}")


def test(app: App) -> None:
    z3 = find("z3", "z3")
    for name, (script, known) in SCRIPTS.items():
        path = app.folder / f"{name.replace(' ', '_')}.smt2"
        path.write_text(script + "\n")
        expected, _ = app.run_both(f"z3, {name}", [z3, "-smt2", "-memory:4000", path])
        check(name, expected.text, known)
    # The parallel solver's answer is fixed, what it tries on the way is not.
    for name in ("pigeons", "factors of a prime"):
        script, known = SCRIPTS[name]
        path = app.folder / f"{name.replace(' ', '_')}.smt2"
        expected, got = app.run_both(f"z3 with 4 threads, {name}", [
            z3, "-smt2", "parallel.enable=true", "parallel.threads.max=4", path])
        check(name, got.text, known)


if __name__ == "__main__":
    main(test)
