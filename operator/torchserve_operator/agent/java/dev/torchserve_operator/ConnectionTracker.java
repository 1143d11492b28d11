package dev.torchserve_operator;

import io.netty.channel.Channel;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.channel.socket.DuplexChannel;
import io.netty.handler.codec.http.HttpMessage;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.handler.ssl.SslHandler;
import io.netty.util.ReferenceCountUtil;
import java.util.ArrayDeque;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;

/**
 * One connection's requests and answers, seen between the HTTP codec and TorchServe's handlers: so answers that never
 * reach those handlers (too large, malformed) are seen too. All methods run on the connection's own loop.
 */
final class ConnectionTracker extends ChannelDuplexHandler {
    private static final Set<ConnectionTracker> OPEN = ConcurrentHashMap.newKeySet();
    private static final long LINGER_SECONDS = 2;
    private static volatile boolean draining;

    /** Requests without an answer yet, oldest first: HTTP/1.1 answers in order. */
    private final ArrayDeque<RequestCounters.Exchange> unanswered = new ArrayDeque<>();

    private ChannelHandlerContext context;
    private boolean closeAnnounced;

    /** From now on every answer tells its client to go away. */
    static void drain() {
        draining = true;
    }

    static boolean isDraining() {
        return draining;
    }

    static int connections() {
        return OPEN.size();
    }

    /** Closes what has nothing to do; a connection with a request in work closes itself after its answer. */
    static void closeIdle() {
        for (ConnectionTracker tracker : OPEN) {
            tracker.context.channel().eventLoop().execute(() -> {
                if (tracker.unanswered.isEmpty() && !tracker.closeAnnounced) {
                    tracker.closeAnnounced = true;
                    tracker.closeGently();
                }
            });
        }
    }

    @Override
    public void handlerAdded(ChannelHandlerContext ctx) {
        context = ctx;
        OPEN.add(this);
    }

    @Override
    public void channelRead(ChannelHandlerContext ctx, Object message) throws Exception {
        if (closeAnnounced) {
            // RFC 9112 9.6: after "Connection: close" further requests are not processed; the client sends them anew.
            ReferenceCountUtil.release(message);
            return;
        }
        if (message instanceof HttpRequest) {
            unanswered.add(RequestCounters.begin((HttpRequest) message));
        }
        super.channelRead(ctx, message);
    }

    @Override
    public void write(ChannelHandlerContext ctx, Object message, ChannelPromise promise) throws Exception {
        if (message instanceof HttpResponse) {
            int status = ((HttpResponse) message).status().code();
            if (status < 200 && status != 101) { // "100 Continue" is no answer
                super.write(ctx, message, promise);
                return;
            }
            if (!unanswered.isEmpty()) {
                unanswered.peek().status = status;
            }
            if (draining && unanswered.size() <= 1) { // pipelined requests that were already read are answered first
                HttpUtil.setKeepAlive((HttpMessage) message, false);
                closeAnnounced = true;
            }
        }
        ChannelPromise written = promise;
        if (message instanceof LastHttpContent) {
            RequestCounters.Exchange exchange = unanswered.poll();
            boolean close = closeAnnounced;
            written = promise.unvoid();
            written.addListener(result -> {
                if (exchange != null) {
                    exchange.end(result.isSuccess());
                }
                if (close) {
                    closeGently();
                }
            });
        }
        super.write(ctx, message, written);
    }

    @Override
    public void channelInactive(ChannelHandlerContext ctx) throws Exception {
        forget();
        super.channelInactive(ctx);
    }

    @Override
    public void handlerRemoved(ChannelHandlerContext ctx) {
        forget();
    }

    private void forget() {
        OPEN.remove(this);
        for (RequestCounters.Exchange exchange; (exchange = unanswered.poll()) != null; ) {
            exchange.end(false);
        }
    }

    /**
     * Ends our direction and waits for the client to end its own: only then has it everything. A plain close resets the
     * connection when the client has sent more, and the process may be gone before the rest is delivered.
     */
    private void closeGently() {
        Channel connection = context.channel();
        if (!connection.isActive() || !(connection instanceof DuplexChannel)) {
            connection.close();
            return;
        }
        SslHandler tls = connection.pipeline().get(SslHandler.class);
        if (tls == null) {
            ((DuplexChannel) connection).shutdownOutput();
        } else {
            tls.closeOutbound().addListener(sent -> ((DuplexChannel) connection).shutdownOutput());
        }
        connection.eventLoop().schedule((Runnable) connection::close, LINGER_SECONDS, TimeUnit.SECONDS);
    }
}
