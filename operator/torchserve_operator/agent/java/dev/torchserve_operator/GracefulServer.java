package dev.torchserve_operator;

import io.netty.channel.Channel;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.ChannelPromise;
import io.netty.channel.EventLoopGroup;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpServerCodec;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.security.GeneralSecurityException;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.pytorch.serve.ModelServer;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.Connector;
import org.pytorch.serve.util.ConnectorType;

/**
 * TorchServe with what it lacks: an exact count of requests and a stop that loses none.
 *
 * <p>{@code initializeServer} is the one public seam through which every connection passes. TorchServe registers each
 * accepted connection with the worker group that it is given here; the group it gets is ours, so that our handler is
 * in every connection's pipeline before its first byte is read, and no connection slips through.
 */
final class GracefulServer extends ModelServer {
    private static final Set<Channel> LISTENERS = ConcurrentHashMap.newKeySet();

    GracefulServer(ConfigManager config) {
        super(config);
    }

    /** An override of a method that is not there would silently never be called: refuse such a TorchServe. */
    static void requireSuitable() throws ReflectiveOperationException {
        Class<?> result =
                ModelServer.class
                        .getMethod(
                                "initializeServer",
                                Connector.class,
                                EventLoopGroup.class,
                                EventLoopGroup.class,
                                ConnectorType.class)
                        .getReturnType();
        if (result != ChannelFuture.class) {
            throw new NoSuchMethodException("initializeServer returns " + result);
        }
        ConnectionTracker.class.getDeclaredConstructors();
        StatsHandler.class.getDeclaredConstructors();
        WorkerStates.class.getDeclaredMethods();
        RequestCounters.load();
    }

    @Override
    public ChannelFuture initializeServer(
            Connector connector, EventLoopGroup boss, EventLoopGroup workers, ConnectorType type)
            throws InterruptedException, IOException, GeneralSecurityException {
        ChannelFuture closed = super.initializeServer(connector, boss, observed(workers, type.name()), type);
        if (!tracked(type.name())) {
            return closed;
        }
        // startAndWait() stops everything when this future completes: not when the drain closes the listener.
        ChannelPromise ended = closed.channel().newPromise();
        closed.addListener(result -> {
            if (!ConnectionTracker.isDraining()) {
                ended.setSuccess();
            }
        });
        LISTENERS.add(closed.channel());
        return ended;
    }

    /** Stops accepting predictions; open connections stay. */
    static void stopAccepting() throws InterruptedException {
        for (Channel listener : LISTENERS) {
            listener.close().await(1000);
        }
    }

    /** `group`, whose register() adds our handlers to the connection first. A proxy, as netty's interface grows. */
    private static EventLoopGroup observed(EventLoopGroup group, String type) {
        return (EventLoopGroup)
                Proxy.newProxyInstance(
                        GracefulServer.class.getClassLoader(),
                        new Class<?>[] {EventLoopGroup.class},
                        (proxy, method, arguments) -> {
                            if (method.getName().equals("register")) {
                                Object last = arguments[arguments.length - 1];
                                Channel connection =
                                        arguments[0] instanceof Channel
                                                ? (Channel) arguments[0]
                                                : ((ChannelPromise) last).channel();
                                connection.pipeline().addLast(new Installer(type));
                            }
                            try {
                                return method.invoke(group, arguments);
                            } catch (InvocationTargetException e) {
                                throw e.getCause();
                            }
                        });
    }

    private static boolean tracked(String type) {
        return type.equals("INFERENCE_CONNECTOR") || type.equals("ALL");
    }

    private static boolean managed(String type) {
        return type.equals("MANAGEMENT_CONNECTOR") || type.equals("ALL");
    }

    /** Runs right after TorchServe's own initialiser, on the connection's loop, before anything is read. */
    private static final class Installer extends ChannelInitializer<Channel> {
        private final String type;

        Installer(String type) {
            this.type = type;
        }

        @Override
        protected void initChannel(Channel connection) {
            ChannelPipeline pipeline = connection.pipeline();
            if (tracked(type)) {
                // TorchServe sets SO_LINGER 0: every close resets the connection and throws away what the client has
                // not read yet. The system's default sends it first.
                connection.config().setOption(ChannelOption.SO_LINGER, -1);
                pipeline.addAfter(pipeline.context(HttpServerCodec.class).name(), null, new ConnectionTracker());
            }
            if (managed(type)) {
                pipeline.addAfter(pipeline.context(HttpObjectAggregator.class).name(), null, new StatsHandler());
            }
        }
    }
}
