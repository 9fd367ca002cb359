"""Our isolation forest beside its peers, in one run: the same trees where a peer can take them, CPU time, ratios per round."""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[threads] = "1"

import numpy as np

FEATURES, TREES, SAMPLE, TRAINING = 16, 100, 256, 4096
NODES, PATH_ONE, END = 256, 65536, 0x7F800000
BENCH = Path(__file__).parent
MISSING = []


def rows_of(count):
    """Sums of uniform numbers, different in scale per column; one row in a hundred is far off."""
    random = np.random.default_rng(7)
    rows = random.random((count, FEATURES, 3), dtype=np.float32).sum(axis=2) - 1.5
    rows[99::100] += 4
    return np.ascontiguousarray(rows * np.arange(1, FEATURES + 1, dtype=np.float32))


def timed(work):
    start = time.thread_time_ns()
    work()
    return time.thread_time_ns() - start


class Child:
    """A program that times itself; see `peers/`."""

    def __init__(self, *command):
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = self.process.stdout.readline().split()
        if ready[:1] != ["ready"]:
            raise RuntimeError(f"{command[0]} did not start")
        self.names = ready[1:]

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"no answer to {words}")
        return int(answer)


class InPython:
    """A scorer called from here; each call takes the next rows."""

    def __init__(self, name, score, rows):
        self.name, self.score, self.rows = name, score, rows

    def ask(self, _, __, batch, calls):
        firsts = [call * batch % (len(self.rows) - batch + 1) for call in range(calls)]
        parts = [self.rows[first : first + batch] for first in firsts]
        return timed(lambda: [self.score(part) for part in parts])


def trees_of(model):
    """Our trees as (id, feature, threshold, left, right) or (id, leaf), without what only fills them up."""
    thresholds = np.array(model["thresholds"], dtype=np.uint32)
    floats, leaves = thresholds.view(np.float32), model["leaves"]
    for tree in range(len(thresholds) // NODES):
        nodes, todo = [], [1]
        while todo:
            at = todo.pop()
            if at < NODES and thresholds[tree * NODES + at] != END:
                feature, bound = int(thresholds[tree * NODES + at]) & 15, float(floats[tree * NODES + at])
                nodes.append((at, feature, bound, 2 * at, 2 * at + 1))
                todo += [2 * at + 1, 2 * at]
            else:
                first = at
                while first < NODES:
                    first *= 2
                nodes.append((at, leaves[tree * NODES + first - NODES] / PATH_ONE))
        yield nodes


def onnx_scorer(model):
    import onnx
    import onnxruntime
    from onnx import helper

    fields = {key: [] for key in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")}
    target = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    for tree, nodes in enumerate(trees_of(model)):
        place = {node[0]: number for number, node in enumerate(nodes)}
        for node in nodes:
            is_leaf = len(node) == 2
            row = (0, 0.0, "LEAF", 0, 0) if is_leaf else (node[1], node[2], "BRANCH_LT", place[node[3]], place[node[4]])
            for key, value in zip(fields, (tree, place[node[0]], *row)):
                fields[key].append(value)
            if is_leaf:
                for key, value in zip(target, (tree, place[node[0]], 0, node[1])):
                    target[key].append(value)
    attributes = {f"nodes_{key}": value for key, value in fields.items()}
    attributes |= {f"target_{key}": value for key, value in target.items()}
    node = helper.make_node("TreeEnsembleRegressor", ["X"], ["Y"], domain="ai.onnx.ml", n_targets=1, **attributes)
    shape = lambda name, width: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, width])
    graph = helper.make_graph([node], "forest", [shape("X", FEATURES)], [shape("Y", 1)])
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    data = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda rows: session.run(None, {"X": rows})[0][:, 0]


def tl2cgen_model(model):
    import treelite
    from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

    shape = Metadata(num_feature=FEATURES, task_type="kRegressor", average_tree_output=False, num_target=1,
                     num_class=[1], leaf_vector_shape=(1, 1))
    builder = ModelBuilder(threshold_type="float32", leaf_output_type="float32", metadata=shape, base_scores=[0.0],
                           tree_annotation=TreeAnnotation(num_tree=TREES, target_id=[0] * TREES, class_id=[0] * TREES),
                           postprocessor=PostProcessorFunc(name="identity"))
    for nodes in trees_of(model):
        builder.start_tree()
        for node in nodes:
            builder.start_node(node[0])
            if len(node) == 2:
                builder.leaf(node[1])
            else:
                builder.numerical_test(feature_id=node[1], threshold=node[2], default_left=False, opname="<",
                                       left_child_key=node[3], right_child_key=node[4])
            builder.end_node()
        builder.end_tree()
    return builder.commit()


def tl2cgen_child(model, rows_file, out):
    import tl2cgen

    tl2cgen.generate_c_code(tl2cgen_model(model), out / "tl2cgen", {"parallel_comp": 0})
    program = out / "tl2cgen" / "program"
    sources = [BENCH / "peers" / "tl2cgen.c", out / "tl2cgen" / "main.c"]
    subprocess.run(["gcc", "-O3", "-march=native", "-I", out / "tl2cgen", *sources, "-o", program], check=True)
    return Child(program, rows_file, out / "tl2cgen.f32")


def tl2cgen_scorer(model, out):
    import tl2cgen

    library = out / "tl2cgen.so"
    tl2cgen.export_lib(tl2cgen_model(model), toolchain="gcc", libpath=library, params={"parallel_comp": 0},
                       options=["-O3", "-march=native"])
    predictor = tl2cgen.Predictor(library, nthread=1)
    return lambda rows: predictor.predict(tl2cgen.DMatrix(rows)).reshape(-1)


def scikit(rows, seed=0):
    from sklearn.ensemble import IsolationForest

    return IsolationForest(n_estimators=TREES, max_samples=min(SAMPLE, len(rows)), random_state=seed, n_jobs=1).fit(rows)


def isotree(rows, seed=1):
    import isotree

    forest = isotree.IsolationForest(ntrees=TREES, sample_size=SAMPLE, ndim=1, ntry=1, max_depth=8, nthreads=1,
                                     missing_action="fail", prob_pick_pooled_gain=0, penalize_range=False,
                                     random_seed=seed)
    return forest.fit(rows)


def attempt(name, make):
    try:
        return make()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"\n!! {name} COULD NOT BE HAD: {reason}\n", flush=True)
        MISSING.append(f"{name}: {reason}")
        return None


def check(name, paths, scores, usual_path):
    """Peers that take our trees must score as we do before they are timed."""
    found = np.exp2(-np.asarray(paths, dtype=np.float64) / TREES / usual_path)
    worst = np.abs(found - scores[: len(found)]).max()
    if worst > 1e-6:
        raise RuntimeError(f"{name} differs from our scores by {worst}")
    print(f"{name}: the same trees, scores within {worst:.1e}")


def scorers(peers, rows, rows_file, out):
    """Every scorer by name; the first are ours."""
    ours = Child(peers, rows_file, TRAINING, out)
    model, scores = json.loads((out / "model.json").read_text()), np.fromfile(out / "scores.f32", dtype=np.float32)
    usual_path = 2 * sum(1 / i for i in range(1, SAMPLE)) - 2 * (SAMPLE - 1) / SAMPLE
    found = {name: ours for name in ours.names}

    def same_trees(name, make):
        def made():
            score = make()
            check(name, score(rows[:20_000]), scores, usual_path)
            return InPython(name, score, rows)
        found[name] = attempt(name, made)

    def from_c():
        child = tl2cgen_child(model, rows_file, out)
        check("tl2cgen-c", np.fromfile(out / "tl2cgen.f32", dtype=np.float32), scores, usual_path)
        return child

    same_trees("onnxruntime", lambda: onnx_scorer(model))
    same_trees("tl2cgen-python", lambda: tl2cgen_scorer(model, out))
    found["tl2cgen-c"] = attempt("tl2cgen-c", from_c)
    training = rows[:TRAINING]
    found["scikit-learn"] = attempt("scikit-learn", lambda: InPython("scikit-learn", scikit(training).score_samples, rows))
    found["isotree"] = attempt("isotree", lambda: InPython("isotree", isotree(training).predict, rows))
    return ours, {name: scorer for name, scorer in found.items() if scorer}


def rounds_of(work, count):
    """ABBA: every second round goes backwards, so that a drift of the machine falls on all alike."""
    taken = {name: [] for name in work}
    for number in range(count):
        for name in list(work)[:: -1 if number % 2 else 1]:
            taken[name].append(work[name]())
    return taken


def show(title, taken, ours, unit):
    """Medians with quartiles, and how many times longer than ours, per round."""
    print(f"\n### {title}\n\n| | {unit} | quartiles | " + " | ".join(f"x {name}" for name in ours) + " |")
    print("|---|---|---|" + "---|" * len(ours))
    for name, values in taken.items():
        low, middle, high = np.percentile(values, [25, 50, 75])
        ratios = [statistics.median(a / b for a, b in zip(values, taken[one])) for one in ours]
        print(f"| {name} | {middle:,.1f} | {low:,.1f} to {high:,.1f} | " + " | ".join(f"{r:.2f}" for r in ratios) + " |")


def measure_scores(found, ours, batches, rounds, ns_a_round):
    row_by_row = {"extended", "online", "random-cut"}
    for batch in batches:
        work = {}
        for name, scorer in found.items():
            if batch > 10_000 and name in row_by_row:
                print(f"\n{name} takes rows one by one: not timed with {batch:,} rows, it has no batches")
                continue
            once = max(scorer.ask("score", name, batch, 1), 1)
            calls = max(1, min(ns_a_round // once, 1 + 200_000 // batch))
            work[name] = lambda n=name, s=scorer, b=batch, c=calls: s.ask("score", n, b, c) / (b * c)
        show(f"score, {batch:,} rows a call", rounds_of(work, rounds), ours, "ns a row")


def measure_rest(child, rows, rounds):
    training, seeds = rows[:TRAINING], iter(range(10_000))
    fits = {"ours": lambda: child.ask("fit", next(seeds)) / 1e6}
    for name, fit in (("isotree", isotree), ("scikit-learn", scikit)):
        if attempt(f"{name} (fit)", lambda fit=fit: fit(training)):
            fits[name] = lambda fit=fit: timed(lambda: fit(training, 1 + next(seeds))) / 1e6
    show(f"fit of {TRAINING:,} rows", rounds_of(fits, rounds), ["ours"], "ms")
    explain = {name: lambda n=name, c=calls: child.ask("explain", n, c) / c / 1e3
               for name, calls in (("ours", 2_000), ("random-cut", 100))}
    show("explanation", rounds_of(explain, rounds), ["ours"], "us a row")


def accuracy(child, data, seeds, rows_max, out):
    from sklearn.metrics import roc_auc_score

    tables = sorted(data.glob("*.npz"))
    if not tables:
        MISSING.append(f"accuracy: no tables in {data}")
        return
    print(f"\n### accuracy, AUC of {seeds} seeds\n\n| table | ours | scikit-learn | difference in sd |\n|---|---|---|---|")
    means = []
    for path in tables:
        table = np.load(path, allow_pickle=False)
        rows, labels = np.ascontiguousarray(table["X"], dtype="<f4"), table["y"]
        if len(rows) > rows_max:
            MISSING.append(f"accuracy: {path.stem} has {len(rows):,} rows, more than --quick takes")
            continue
        rows.tofile(out / "table.f32")
        both = []
        for seed in range(seeds):
            child.ask("table", out / "table.f32", rows.shape[1], seed, out / "table.out")
            mine = np.fromfile(out / "table.out", dtype=np.float32)
            both.append((roc_auc_score(labels, mine), roc_auc_score(labels, -scikit(rows, seed).score_samples(rows))))
        mean, spread = np.mean(both, axis=0), np.std(both, axis=0, ddof=1)
        sigma = (mean[0] - mean[1]) / max(np.sqrt((spread**2).sum() / seeds), 1e-9)
        means.append(mean)
        print(f"| {path.stem} | {mean[0]:.4f} | {mean[1]:.4f} | {sigma:+.1f} |", flush=True)
    ours, theirs = np.mean(means, axis=0)
    print(f"| **mean** | **{ours:.4f}** | **{theirs:.4f}** | |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, rounds and seeds: shows that it works")
    parser.add_argument("--out", type=Path, default=BENCH.parent / "target" / "bench")
    parser.add_argument("--peers", type=Path, required=True, help="the program of peers/, built")
    parser.add_argument("--data", type=Path, default=BENCH.parent.parent / "shared" / "data" / "adbench")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    args = parser.parse_args()
    os.sched_setaffinity(0, {args.cpu})
    args.out.mkdir(parents=True, exist_ok=True)
    rows = rows_of(20_000 if args.quick else 1_000_000)
    rows_file = args.out / "rows.f32"
    rows.tofile(rows_file)
    child, found = scorers(args.peers, rows, rows_file, args.out)
    ours = [name for name in child.names if name in ("scalar", "avx2", "avx512", "avx512vbmi")]
    batches, rounds, ns = ([1, 64, 10_000], 3, 20_000_000) if args.quick else ([1, 64, 10_000], 9, 60_000_000)
    measure_scores(found, ours, batches, rounds, ns)
    if not args.quick:
        measure_scores(found, ours, [1_000_000], 5, 1)
    measure_rest(child, rows, 3 if args.quick else 9)
    accuracy(child, args.data, 2 if args.quick else 10, 12_000 if args.quick else 10**9, args.out)
    for missing in MISSING:
        print(f"\n!! NOT MEASURED: {missing}")


if __name__ == "__main__":
    main()
