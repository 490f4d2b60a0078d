#!/bin/bash
# All that is measured of the renderer on one GPU, in three to four minutes; figures and logs go to $OUT:
#   OUT=folder bash tests/bench/gpu_renderer.sh [--short] [COMMIT]
# First what needs no quiet machine, side by side (tests, compute-sanitizer, HiGS's build); HiGS's compilers stand still while the times are taken, and
# get the rest of the time afterwards. --short, in one and a half: of the times only those of the two smallest scenes, of the host and beside HiGS.
export PYTHONPATH=. PYTHONUNBUFFERED=1 HIGS=/tmp/higs_libraries
parts="bench batch large extras host profiles" cases="" quick=""
if [ "$1" = --short ]; then
    parts="bench host" cases="--cases 0 1" quick="--quick"
    shift
fi
kept=.carry/gsplat_cuda.so # gsplat 1.5.3 as an earlier machine built it
[ -f $kept.xz ] && python -c "import lzma; open('$kept', 'wb').write(lzma.open('$kept.xz').read())"
bench=tests/bench/gpu_plain_call.py
begin=$SECONDS
python -c 'import sys; sys.path.insert(0, "tests/bench"); import gpu_timing; gpu_timing.unpack_wheels()' # once, before several of them want it
setsid nice -n 5 python tests/bench/gpu_higs.py --build-only --libraries $HIGS --output "$OUT" --build-seconds 900 >"$OUT/higs_build.txt" 2>&1 &
higs=$!
python $bench --parts sanitize --seconds 80 --output /tmp/sanitize >"$OUT/sanitize.txt" 2>&1 &
sanitize=$!
python $bench --parts tests --json /tmp/tests.json --output "$OUT"
wait $sanitize
tail -n 12 "$OUT/sanitize.txt"
[ -n "$quick" ] && while kill -0 $higs 2>/dev/null && [ $((SECONDS - begin)) -lt 70 ]; do sleep 0.5; done
echo "      quiet from $((SECONDS - begin)) s on"
kill -STOP -- -$higs 2>/dev/null
# shellcheck disable=SC2086
python $bench --parts $parts $cases --seconds 130 --commit "${1:-}" --output "$OUT"
kill -CONT -- -$higs 2>/dev/null
while kill -0 $higs 2>/dev/null && [ $((SECONDS - begin)) -lt ${LIMIT:-240} ]; do sleep 1; done
if kill -0 $higs 2>/dev/null; then
    echo "      HiGS is not built; its compilers still at work:"
    ps -eo pgid,etimes,args | awk -v group=$higs '$1 == group' | grep -E "cicc|ptxas|cc1plus" | cut -c1-60
    kill -9 -- -$higs
fi
cat "$OUT/higs_build.txt"
# shellcheck disable=SC2086
[ -f $HIGS/higs_csrc.so ] && [ -f $HIGS/higs_gsplat_scene_cuda.so ] && timeout 90 python tests/bench/gpu_higs.py $quick --libraries $HIGS --output "$OUT"
echo "      all: $((SECONDS - begin)) s"
