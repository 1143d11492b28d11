package dev.torchserve_operator;

import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpVersion;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/**
 * GET /torchserve-operator/stats on the management connector (loopback), for the agent; answered before TorchServe's
 * own handlers, so it is in no access log and needs no token.
 *
 * <p>{"schema":1,"draining":false,"connections":2,"inFlight":1,"bounds":[seconds…],"models":{"digits":{"inFlight":1,
 * "requests":{"200":5},"seconds":0.8,"buckets":[…one more than bounds…],"registered":true,"minWorkers":1,"maxWorkers":4,
 * "queued":0,"workers":[{"id":"9000","status":"READY","pid":44}]}}}
 */
final class StatsHandler extends ChannelInboundHandlerAdapter {
    static final String PATH = "/torchserve-operator/stats";

    @Override
    public void channelRead(ChannelHandlerContext ctx, Object message) throws Exception {
        if (!(message instanceof FullHttpRequest) || !((FullHttpRequest) message).uri().equals(PATH)) {
            super.channelRead(ctx, message);
            return;
        }
        ((FullHttpRequest) message).release();
        StringBuilder out = new StringBuilder(1024);
        out.append("{\"schema\":1,\"draining\":").append(ConnectionTracker.isDraining());
        out.append(",\"connections\":").append(ConnectionTracker.connections()).append(',');
        writeModels(out);
        out.append('}');
        FullHttpResponse response =
                new DefaultFullHttpResponse(
                        HttpVersion.HTTP_1_1,
                        HttpResponseStatus.OK,
                        Unpooled.copiedBuffer(out, StandardCharsets.UTF_8));
        response.headers().set(HttpHeaderNames.CONTENT_TYPE, "application/json");
        response.headers().setInt(HttpHeaderNames.CONTENT_LENGTH, response.content().readableBytes());
        ctx.writeAndFlush(response);
    }

    private static void writeModels(StringBuilder out) {
        out.append("\"inFlight\":").append(RequestCounters.inFlight()).append(",\"bounds\":[");
        String comma = "";
        for (double bound : RequestCounters.BOUNDS) {
            out.append(comma).append(bound);
            comma = ",";
        }
        out.append("],\"models\":{");
        comma = "";
        for (Map.Entry<String, RequestCounters> model : RequestCounters.models().entrySet()) {
            String name = model.getKey().replace("\\", "\\\\").replace("\"", "\\\"");
            out.append(comma).append('"').append(name).append("\":{");
            model.getValue().writeJson(out);
            WorkerStates.writeJson(out, model.getKey());
            out.append('}');
            comma = ",";
        }
        out.append('}');
    }
}
