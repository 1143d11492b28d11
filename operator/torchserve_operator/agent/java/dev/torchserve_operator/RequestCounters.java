package dev.torchserve_operator;

import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.QueryStringDecoder;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;

/**
 * Exact counts per model: in flight, answered by status, latency (first header read to last byte handed to the system).
 *
 * <p>Only the models that the agent names are counted: names come from clients, and each would be a time series.
 */
final class RequestCounters {
    /** Upper bounds in seconds; the last bucket has none. */
    static final double[] BOUNDS = {
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120
    };
    /** The status of a request whose client went away (nginx's word for it). */
    private static final int CLIENT_CLOSED = 499;

    private static final AtomicInteger IN_FLIGHT = new AtomicInteger();
    private static final Map<String, RequestCounters> MODELS = new TreeMap<>();
    private static volatile long lastBegun = System.nanoTime();

    static {
        for (String name : System.getProperty(GracefulMain.PROPERTY + "models", "").split(",")) {
            if (!name.isEmpty()) {
                MODELS.put(name, new RequestCounters());
            }
        }
    }

    private final AtomicInteger inFlight = new AtomicInteger();
    private final Map<Integer, LongAdder> answered = new ConcurrentHashMap<>();
    private final LongAdder[] buckets = new LongAdder[BOUNDS.length + 1];
    private final LongAdder nanoseconds = new LongAdder();

    private RequestCounters() {
        for (int i = 0; i < buckets.length; i++) {
            buckets[i] = new LongAdder();
        }
    }

    /** Makes the JVM load and check this class now. */
    static void load() {}

    /** Requests of any kind without a complete answer; the kubelet's pings are left out. */
    static int inFlight() {
        return IN_FLIGHT.get();
    }

    /** When the last request came (nanoTime); pings left out. */
    static long lastBegun() {
        return lastBegun;
    }

    static Exchange begin(HttpRequest request) {
        return new Exchange(request);
    }

    /** One request until its answer; used on its connection's loop only. */
    static final class Exchange {
        int status;
        private final long begun = System.nanoTime();
        private final boolean ping;
        private final RequestCounters model;

        private Exchange(HttpRequest request) {
            ping = request.uri().startsWith("/ping");
            model = HttpMethod.OPTIONS.equals(request.method()) ? null : MODELS.get(modelOf(request.uri()));
            if (!ping) {
                IN_FLIGHT.incrementAndGet();
                lastBegun = begun;
            }
            if (model != null) {
                model.inFlight.incrementAndGet();
            }
        }

        void end(boolean delivered) {
            if (!ping) {
                IN_FLIGHT.decrementAndGet();
            }
            if (model != null) {
                model.inFlight.decrementAndGet();
                int code = delivered ? status : CLIENT_CLOSED;
                model.answered.computeIfAbsent(code, key -> new LongAdder()).increment();
                if (delivered) {
                    model.observe(System.nanoTime() - begun);
                }
            }
        }
    }

    private void observe(long elapsed) {
        int bucket = 0;
        while (bucket < BOUNDS.length && elapsed > BOUNDS[bucket] * 1e9) {
            bucket++;
        }
        buckets[bucket].increment();
        nanoseconds.add(elapsed);
    }

    /** The model that a path asks, in each of TorchServe's forms; "" when it asks none. */
    static String modelOf(String uri) {
        QueryStringDecoder decoder = new QueryStringDecoder(uri);
        String[] parts = decoder.path().split("/");
        if (parts.length < 2) {
            return "";
        }
        String model = "";
        if (parts.length >= 3 && (parts[1].equals("predictions") || parts[1].equals("explanations"))) {
            model = parts[2];
        } else if (parts.length >= 4 && parts[1].equals("models") && parts[3].equals("invoke")) {
            model = parts[2];
        } else if (parts[1].equals("invocations")) {
            List<String> names = decoder.parameters().get("model_name");
            model = names == null ? onlyModel() : names.get(0);
        } else if (parts.length >= 4 && (parts[1].equals("v1") || parts[1].equals("v2")) && parts[2].equals("models")) {
            model = parts[3].split(":")[0];
        } else if (parts.length >= 3 && parts[parts.length - 1].equals("predict")) {
            model = parts[1];
        }
        return model;
    }

    private static String onlyModel() {
        return MODELS.size() == 1 ? MODELS.keySet().iterator().next() : "";
    }

    static Map<String, RequestCounters> models() {
        return MODELS;
    }

    /** "inFlight":1,"requests":{"200":5},"seconds":0.8,"buckets":[…]: buckets are counts of their own, not cumulative. */
    void writeJson(StringBuilder out) {
        out.append("\"inFlight\":").append(inFlight.get()).append(",\"requests\":{");
        String comma = "";
        for (Map.Entry<Integer, LongAdder> code : new TreeMap<>(answered).entrySet()) {
            out.append(comma).append('"').append(code.getKey()).append("\":").append(code.getValue().sum());
            comma = ",";
        }
        out.append("},\"seconds\":").append(nanoseconds.sum() / 1e9).append(",\"buckets\":[");
        for (int i = 0; i < buckets.length; i++) {
            out.append(i == 0 ? "" : ",").append(buckets[i].sum());
        }
        out.append(']');
    }
}
