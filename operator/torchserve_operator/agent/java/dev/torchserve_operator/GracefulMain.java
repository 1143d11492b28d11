package dev.torchserve_operator;

import io.netty.util.internal.logging.InternalLoggerFactory;
import io.netty.util.internal.logging.Slf4JLoggerFactory;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import org.apache.commons.cli.DefaultParser;
import org.pytorch.serve.metrics.MetricCache;
import org.pytorch.serve.servingsdk.impl.PluginsManager;
import org.pytorch.serve.util.ConfigManager;
import sun.misc.Signal;

/**
 * TorchServe's main, with {@link GracefulServer} in the place of ModelServer.
 *
 * <p>Exit codes: 0 drained; 1 the server could not start or ended; {@link Drain#CUT} the drain's bound cut requests;
 * {@link #UNSUITABLE} these classes do not fit the TorchServe in the image: the agent then starts the plain main.
 */
public final class GracefulMain {
    static final int UNSUITABLE = 87;
    static final String PROPERTY = "dev.torchserve_operator.";

    private GracefulMain() {}

    public static void main(String[] args) {
        try {
            // The upstream main's order. Without the first and the last the server starts and every request fails.
            GracefulServer.requireSuitable();
            ConfigManager.init(
                    new ConfigManager.Arguments(
                            new DefaultParser().parse(ConfigManager.Arguments.getOptions(), args, null, false)));
            initTokenAuthorization();
            PluginsManager.getInstance().initialize();
            MetricCache.init();
            InternalLoggerFactory.setDefaultFactory(Slf4JLoggerFactory.INSTANCE);

            Drain drain = new Drain(seconds("drain.minSeconds", 5), seconds("drain.maxSeconds", 25));
            Signal.handle(new Signal("TERM"), signal -> drain.begin());
            new GracefulServer(ConfigManager.getInstance()).startAndWait();
            fail("TorchServe stopped by itself");
        } catch (LinkageError | ReflectiveOperationException e) {
            System.out.println("[graceful] this TorchServe does not fit: " + e);
            System.out.flush();
            Runtime.getRuntime().halt(UNSUITABLE);
        } catch (IllegalArgumentException e) {
            fail("Invalid configuration: " + e.getMessage());
        } catch (Throwable t) {
            t.printStackTrace();
            fail(t.toString());
        }
    }

    /** TokenAuthorization came with 0.11; earlier servers have nothing to initialise. */
    private static void initTokenAuthorization() throws ReflectiveOperationException, IOException {
        Class<?> authorization;
        try {
            authorization = Class.forName("org.pytorch.serve.util.TokenAuthorization");
        } catch (ClassNotFoundException e) {
            return;
        }
        try {
            authorization.getMethod("init").invoke(null);
        } catch (InvocationTargetException e) {
            throw new IOException("token authorization: " + e.getCause(), e.getCause());
        }
    }

    private static long seconds(String name, long otherwise) {
        return Long.getLong(PROPERTY + name, otherwise);
    }

    /** Leaves one line for the agent, which makes the termination message of it, and ends. */
    private static void fail(String message) {
        System.out.println("[graceful] " + message);
        String path = System.getProperty(PROPERTY + "failure");
        if (path != null) {
            try {
                Files.write(Paths.get(path), message.getBytes(StandardCharsets.UTF_8));
            } catch (IOException e) {
                System.out.println("[graceful] cannot write " + path + ": " + e);
            }
        }
        System.out.flush();
        Runtime.getRuntime().halt(1);
    }
}
