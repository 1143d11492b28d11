package dev.torchserve_operator;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * The stop that loses nothing: answers go on for at least `minSeconds` (endpoints need that long to go away everywhere),
 * each telling its client to leave, until nothing has been in flight for a moment and nothing more comes, at most
 * `maxSeconds`.
 *
 * <p>Ends by halt(): TorchServe's own stop cuts the requests in work.
 */
final class Drain {
    /** The exit code when `maxSeconds` cut requests. */
    static final int CUT = 3;

    private static final long QUIET_MS = 500;
    /** A request within this time: somewhere the pod is still an endpoint, as on a node that is short of CPU. */
    private static final long LATE_MS = 2000;
    /** Times `minSeconds` for which such requests are waited for: a client may know the pod by its address, for ever. */
    private static final int LATE_FACTOR = 3;
    private static final long DELIVERY_MS = 1000;
    private static final long STEP_MS = 25;

    private final AtomicBoolean begun = new AtomicBoolean();
    private final long minMs;
    private final long maxMs;

    Drain(long minSeconds, long maxSeconds) {
        minMs = TimeUnit.SECONDS.toMillis(minSeconds);
        maxMs = TimeUnit.SECONDS.toMillis(maxSeconds);
    }

    /** A second signal changes nothing. */
    void begin() {
        if (begun.compareAndSet(false, true)) {
            new Thread(this::run, "drain").start();
        }
    }

    private void run() {
        long start = System.nanoTime();
        ConnectionTracker.drain();
        say("draining: in flight " + RequestCounters.inFlight() + ", connections " + ConnectionTracker.connections());
        try {
            long quietSince = start;
            while (elapsed(start) < maxMs) {
                Thread.sleep(STEP_MS);
                if (RequestCounters.inFlight() > 0) {
                    quietSince = System.nanoTime();
                } else if (elapsed(start) >= minMs && elapsed(quietSince) >= QUIET_MS && !comesStill(start)) {
                    break;
                }
            }
            finish(start);
        } catch (InterruptedException e) {
            say("interrupted");
        }
        int cut = RequestCounters.inFlight();
        say("drained after " + elapsed(start) + " ms, in flight " + cut + ", connections " + ConnectionTracker.connections());
        System.out.flush();
        Runtime.getRuntime().halt(cut == 0 ? 0 : CUT);
    }

    private boolean comesStill(long start) {
        return elapsed(RequestCounters.lastBegun()) < LATE_MS && elapsed(start) < LATE_FACTOR * minMs;
    }

    /** Nobody new, nobody idle; whoever still came in the last moment is answered, and every answer arrives. */
    private void finish(long start) throws InterruptedException {
        GracefulServer.stopAccepting();
        ConnectionTracker.closeIdle();
        long closing = System.nanoTime();
        while ((RequestCounters.inFlight() > 0 && elapsed(start) < maxMs)
                || (ConnectionTracker.connections() > 0 && elapsed(closing) < DELIVERY_MS)) {
            Thread.sleep(STEP_MS);
        }
    }

    private static long elapsed(long since) {
        return TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - since);
    }

    private static void say(String text) {
        System.out.println("[graceful] " + text);
    }
}
