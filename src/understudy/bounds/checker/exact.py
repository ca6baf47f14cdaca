"""Check a certificate of tiny networks in rational numbers: no rounding error has to be trusted, only integers.

The same steps as in `verify`, from which only the reading is taken: what the arrays must look like, that the
leaves cover the ball, and which weights stand where.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np

from understudy.bounds.checker.network import Net, Refused, need, operation
from understudy.bounds.checker.rational import exp, least, log, log_sum_exp, sigmoid, sigmoid_above, up
from understudy.bounds.checker.verify import Search, Verified, read

ZERO, ONE = Fraction(0), Fraction(1)
LARGEST = {"inputs": 32, "ReLUs": 80, "classes": 6, "tree nodes": 1000}
SLOPES = 2**60  # the upper lines' slopes are multiples of 1 / SLOPES
Row = list[Fraction]
Lines = list[list[tuple[Fraction, Fraction, Fraction]]]


def fractions(array: Any) -> Row:
    """Every number of an array as it is."""
    return [Fraction(float(value)) for value in np.ravel(array)]


class ExactNet:
    """One network over the box: each node's rows of exact weights, and upper bounds of its ReLUs' arguments."""

    def __init__(self, net: Net, arrays: dict[str, Any], low: Row, high: Row) -> None:
        self.net, self.low, self.high = net, low, high
        self.rows: list[list[list[tuple[int, Fraction]]]] = [[]]
        self.bias: list[Row] = [[]]
        for at, node in enumerate(net.nodes[1:], start=1):
            given = {key: arrays[f"{net.name}.{at}.{key}"] for key in node["arrays"]}
            self.bias.append(fractions(np.broadcast_to(given.get("bias", 0.0), node["shape"])))
            matrix = []
            if node["op"] != "relu":
                _, adjoint = operation(node, net.nodes[node["parents"][0]]["shape"], given)
                for row in adjoint(np.eye(net.size[at])).reshape(
                    net.size[at], -1
                ):  # 0 and 1 times weights: exact
                    matrix.append([(int(i), Fraction(float(row[i]))) for i in np.flatnonzero(row)])
            self.rows.append(matrix)
        self.start: list[tuple[Row, Row]] = []
        intervals = [(high, [-one for one in low])]
        for at, node in enumerate(net.nodes[1:], start=1):
            ups, negs = ([one for p in node["parents"] for one in intervals[p][i]] for i in (0, 1))
            if node["op"] == "relu":
                ups, negs = self._root(node["parents"][0], ups, negs, arrays)
                intervals.append(([max(one, ZERO) for one in ups], [min(one, ZERO) for one in negs]))
            else:
                intervals.append(self._affine(at, ups, negs))

    def _affine(self, at: int, ups: Row, negs: Row) -> tuple[Row, Row]:
        """Interval arithmetic: upper bounds of a node's values and of minus them."""
        found: tuple[Row, Row] = [], []
        for row, bias in zip(self.rows[at], self.bias[at], strict=True):
            for side, sign in zip(found, (1, -1), strict=True):
                terms = (w * sign * (ups[i] if w * sign > 0 else -negs[i]) for i, w in row)
                side.append(up(sum(terms, sign * bias)))
        return found

    def _root(self, at: int, ups: Row, negs: Row, arrays: dict[str, Any]) -> tuple[Row, Row]:
        """The bounds of node `at`, before the next ReLU, met with CROWN's, then with the stored slopes'."""
        rows, key = (self._units(at, 1), self._units(at, -1)), f"roots.{self.net.name}.{len(self.start)}"
        lines = self.lines(self.start)
        for i in [i for i in range(len(ups)) if ups[i] > 0 and negs[i] > 0]:
            ups[i], negs[i] = (
                min(side[i], self.top(at, unit[i], lines))
                for side, unit in zip((ups, negs), rows, strict=True)
            )
        if f"{key}.rows" in arrays:
            which, slopes = arrays[f"{key}.rows"].tolist(), arrays[f"{key}.slopes"]
            for half, (side, units) in enumerate(zip((ups, negs), rows, strict=True)):
                for i, neuron in enumerate(which):
                    own = self.lines(self.start, fractions(slopes[half * len(which) + i]))
                    side[neuron] = min(side[neuron], self.top(at, units[neuron], own))
        self.start.append((ups, negs))
        return ups, negs

    def _units(self, at: int, sign: int) -> list[Row]:
        return [
            [Fraction(sign * (i == j)) for j in range(self.net.size[at])] for i in range(self.net.size[at])
        ]

    def lines(self, bounds: list[tuple[Row, Row]], slopes: Row | None = None) -> Lines:
        """Slope and intercept above, slope below, for each ReLU."""
        found, count = [], 0
        for highs, negs in bounds:
            layer = []
            for high, neg in zip(highs, negs, strict=True):
                line = (ONE, ZERO, ONE) if neg <= 0 else (ZERO, ZERO, ZERO)
                if high > 0 and neg > 0:
                    above = Fraction(int(high / (high + neg) * SLOPES), SLOPES)
                    area = ONE if high > neg else ZERO
                    line = (
                        above,
                        max(above * neg, high - above * high),
                        area if slopes is None else slopes[count],
                    )
                layer.append(line)
                count += 1
            found.append(layer)
        return found

    def back(self, at: int, row: Row, lines: Lines, extra: Row | None = None) -> tuple[Row, Fraction]:
        """An upper bound of a row on node `at`: coefficients on the input, constant."""
        net, constant, pending = self.net, ZERO, {at: row}
        for position in range(at, 0, -1):
            if position not in pending:
                continue
            a, parents = pending.pop(position), net.nodes[position]["parents"]
            if net.nodes[position]["op"] == "relu":
                ordinal = net.relus.index(position)
                pieces = [ZERO if extra is None else extra[net.ends[ordinal] + i] for i in range(len(a))]
                for i, (one, (above, lift, below)) in enumerate(zip(a, lines[ordinal], strict=True)):
                    pieces[i] += one * (above if one > 0 else below)
                    constant += max(one, ZERO) * lift
            else:
                pieces = [ZERO] * sum(net.size[p] for p in parents)
                for one, weights, bias in zip(a, self.rows[position], self.bias[position], strict=True):
                    constant += one * bias
                    for i, weight in weights if one else ():
                        pieces[i] += one * weight
            for parent in parents:
                own, pieces = pieces[: net.size[parent]], pieces[net.size[parent] :]
                held = pending.get(parent)
                pending[parent] = own if held is None else [x + y for x, y in zip(own, held, strict=True)]
        return pending.get(0, [ZERO] * net.size[0]), constant

    def maximum(self, a: Row, constant: Fraction) -> Fraction:
        """The maximum over the box, rounded up."""
        ends = zip(a, self.low, self.high, strict=True)
        return up(sum((max(one * low, one * high) for one, low, high in ends), constant))

    def top(self, at: int, row: Row, lines: Lines) -> Fraction:
        """Upper bound of a row on node `at`."""
        return self.maximum(*self.back(at, row, lines))


class ExactSearch:
    """The trees of one certificate; a state is the row of upper bounds that `verify.Search` describes."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self.plan = plan = Search(dict(arrays))
        sizes = plan.nets[0].size[0], sum(net.ends[-1] for net in plan.nets), plan.size, len(plan.t.parent)
        for found, (name, most) in zip(sizes, LARGEST.items(), strict=True):
            need(found <= most, f"too large for rational numbers: {found} {name}, at most {most} are taken")
        x, eps = fractions(arrays["input"]), Fraction(plan.header["eps"])
        low, high = plan.header["low"], plan.header["high"]
        lows = [one - eps if low is None else max(one - eps, Fraction(low)) for one in x]
        highs = [one + eps if high is None else min(one + eps, Fraction(high)) for one in x]
        self.nets = [ExactNet(net, arrays, lows, highs) for net in plan.nets]
        self.margins = [self._closed(self._differences(net, net.lines(net.start), None)) for net in self.nets]

    def _differences(self, net: ExactNet, lines: Lines, reference: int | None) -> list[Row]:
        """M[i, j] >= z_i - z_j, of all pairs or of those with a reference; 2^400 elsewhere."""
        size, last = self.plan.size, len(net.net.nodes) - 1
        found = [[ZERO if i == j else Fraction(2) ** 400 for j in range(size)] for i in range(size)]
        for i, j in itertools.permutations(range(size), 2):
            if reference in (None, i, j):
                found[i][j] = net.top(last, [Fraction((c == i) - (c == j)) for c in range(size)], lines)
        return found

    def _closed(self, m: list[Row]) -> list[Row]:
        for k, i, j in itertools.product(range(self.plan.size), repeat=3):
            m[i][j] = min(m[i][j], m[i][k] + m[k][j])
        return m

    def _odds(self, m: list[Row], k: int) -> tuple[Fraction, Fraction]:
        """Upper bounds of log sum exp (z_j - z_k) over the rivals j, and of minus it."""
        rivals = [j for j in range(self.plan.size) if j != k]
        high = log_sum_exp([m[j][k] for j in rivals])
        lowest = [-m[k][j] for j in rivals]
        top = max(lowest)
        return high, up(-top - log(sum((exp(d - top)[0] for d in lowest), ZERO))[0])

    def bound(self) -> Fraction:
        """The largest of all leaves' bounds."""
        t, best = self.plan.t, Fraction(self.plan.target or 0.0)
        stack: list[tuple[int, Row | None]] = [(int(node), None) for node in np.flatnonzero(t.parent < 0)]
        while stack:
            node, state = stack.pop()
            state = self._root(node) if state is None else list(state)
            if not self._grow(node, state):
                continue
            if node in self.plan.children:
                stack += [(child, state) for child in self.plan.children[node]]
            else:
                best = max(best, self._leaf(node, state))
        return best

    def _about(self, node: int) -> tuple[int, int, int]:
        """Class, which net is raised, which is lowered."""
        query = self.plan.t.query[node]
        raised = 0 if self.plan.t.sign[query] > 0 else 1
        return int(self.plan.t.label[query]), raised, 1 - raised

    def _root(self, node: int) -> Row:
        k, raised, lowered = self._about(node)
        sides = [one for net in self.nets for i in (0, 1) for pair in net.start for one in pair[i]]
        t, r = self._odds(self.margins[raised], k), self._odds(self.margins[lowered], k)
        return [*sides, *(one for row in self.margins[lowered] for one in row), t[1], t[0], *r]

    def _bounds(self, which: int, state: Row) -> list[tuple[Row, Row]]:
        net = self.plan.nets[which]
        each = [(slice(net.base + p.start, net.base + p.stop), net.ends[-1]) for p in net.parts]
        return [(state[p], state[p.start + half : p.stop + half]) for p, half in each]

    def _grow(self, node: int, state: Row) -> bool:
        plan, t, (k, _, lowered) = self.plan, self.plan.t, self._about(node)
        if t.kind[node]:
            place = int(plan.place[node])
            state[place] = min(state[place], Fraction(float(plan.value[node])))
        for bit, (net, exact) in enumerate(zip(plan.nets, self.nets, strict=True), start=1):
            first = t.layer[node] + 1 if t.kind[node] == bit else 1
            for ordinal in range(int(first) if t.rebound[node] & bit else len(net.relus), len(net.relus)):
                lines, start, at = (
                    exact.lines(self._bounds(bit - 1, state)),
                    net.base + net.ends[ordinal],
                    net.before[ordinal],
                )
                tops, bottoms = exact._units(at, 1), exact._units(at, -1)
                for i in range(net.size[at]):
                    high, neg = start + i, start + i + net.ends[-1]
                    if state[high] > 0 and state[neg] > 0:
                        tighter = exact.top(at, tops[i], lines), exact.top(at, bottoms[i], lines)
                        state[high], state[neg] = min(state[high], tighter[0]), min(state[neg], tighter[1])
        m = [state[plan.square + i * plan.size :][: plan.size] for i in range(plan.size)]
        if t.rebound[node] & 4:
            lines = self.nets[lowered].lines(self._bounds(lowered, state))
            closer = self._differences(self.nets[lowered], lines, int(t.reference[node]))
            m = [[min(x, y) for x, y in zip(*rows, strict=True)] for rows in zip(m, closer, strict=True)]
        if t.kind[node] == 3 or t.rebound[node] & 4:
            m = self._closed(m)
            if any(m[i][i] < 0 for i in range(plan.size)):
                return False
            state[plan.square : plan.odds] = [one for row in m for one in row]
            state[plan.odds + 2 :] = [
                min(x, y) for x, y in zip(state[plan.odds + 2 :], self._odds(m, k), strict=True)
            ]
        sides = [both for i in (0, 1) for both in self._bounds(i, state)]
        pairs = [pair for high, neg in sides for pair in zip(high, neg, strict=True)]
        pairs += [(state[-4], state[-3]), (state[-2], state[-1])]
        return all(x + y >= 0 for x, y in pairs)

    def _leaf(self, node: int, state: Row) -> Fraction:
        plan, t, (k, raised, lowered) = self.plan, self.plan.t, self._about(node)
        tu, tn, ru, rn = state[plan.odds :]
        leaf = int(t.leaf[node])
        if leaf < 0:
            return sigmoid(tu) + sigmoid(ru) - 1
        rivals, size, m = [j for j in range(plan.size) if j != k], plan.size, int(t.rival[leaf])
        weights, v = fractions(t.w[leaf]), fractions(t.v[leaf])
        weights = [one / sum(weights) for one in weights]
        free = [j for j in rivals if j != m]
        square = [state[plan.square + i * size :][:size] for i in range(size)]
        ups = [Fraction(c == k) - (weights[rivals.index(c)] if c != k else 0) for c in range(size)]
        downs = [Fraction(c == m) - (c == k) + (v[c] if c in free else 0) for c in range(size)]
        downs[m] -= sum((v[j] for j in free), ZERO)
        ends = [(-square[m][j], square[j][m]) for j in free]
        boxes = [
            log_sum_exp([ZERO, *d]) - sum((v[j] * one for j, one in zip(free, d, strict=True)), ZERO)
            for d in itertools.product(*ends)
        ]
        entropy = sum((one * log(one)[1] for one in weights if one), ZERO)
        extra, place = [[ZERO] * net.ends[-1] for net in plan.nets], int(t.beta_offsets[leaf + 1])
        while t.parent[node] >= 0:
            place, kind = place - 1, int(t.kind[node])
            if kind <= 2:
                at = plan.nets[kind - 1].ends[t.layer[node]] + t.index[node]
                extra[kind - 1][at] = int(t.side[node]) * Fraction(float(t.beta[place]))
            node = t.parent[node]
        slopes, found = [fractions(t.teacher_slopes[leaf]), fractions(t.student_slopes[leaf])], []
        for which, row, constant in ((raised, ups, entropy), (lowered, downs, max(boxes))):
            net = self.nets[which]
            lines = net.lines(self._bounds(which, state), slopes[which])
            a, c = net.back(len(net.net.nodes) - 1, row, lines, extra[which])
            found.append((a, c + constant))
        (a, ca), (b, cb) = found
        tu, ru = min(tu, net.maximum(a, ca)), min(ru, net.maximum(b, cb))
        if tu + tn < 0 or ru + rn < 0:
            return -ONE
        q, p = Fraction(float(t.q_raised[leaf])), Fraction(float(t.q_lowered[leaf]))
        line = [q * x + p * y for x, y in zip(a, b, strict=True)]
        t_low, r_low = -tn, -rn
        if plan.target is not None:
            t_low, r_low = (max(x, *least(plan.target, y)) for x, y in ((t_low, ru), (r_low, tu)))
            if t_low > tu or r_low > ru:
                return -ONE
        joint = (
            net.maximum(line, q * ca + p * cb) + sigmoid_above(q, t_low, tu) + sigmoid_above(p, r_low, ru) - 1
        )
        return min(joint, sigmoid(tu) + sigmoid(ru) - 1)


def verify(path: str) -> Verified:
    """Check a file of tiny networks.

    Raises:
        Refused: its claim is not proved, or the networks are too large.
        Unreadable: it is no certificate.
    """
    arrays = read(path)
    try:
        search = ExactSearch(arrays)
        bound, header = search.bound(), search.plan.header
        claim = header.get("upper")
        need(
            isinstance(claim, float) and bound <= Fraction(claim),
            f"it claims {claim!r}, proved is {float(bound)!r}",
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise Refused(f"malformed: {type(error).__name__} {error}") from error
    rounded = float(bound)
    rounded = rounded if Fraction(rounded) >= bound else float(np.nextafter(rounded, np.inf))
    return Verified(rounded, header, len(search.plan.t.parent), len(search.plan.t.w))
