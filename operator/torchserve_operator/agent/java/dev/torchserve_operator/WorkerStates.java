package dev.torchserve_operator;

import org.pytorch.serve.archive.model.ModelVersionNotFoundException;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.WorkerState;
import org.pytorch.serve.wlm.WorkerThread;

/**
 * What `GET /models/NAME` says of workers and queue, without its price: that call runs nvidia-smi once per worker on a
 * GPU, which once a second is far too much.
 */
final class WorkerStates {
    private WorkerStates() {}

    /** ,"registered":true,"minWorkers":1,"maxWorkers":4,"queued":0,"workers":[{"id":"9000","status":"READY","pid":44}] */
    static void writeJson(StringBuilder out, String name) {
        ModelManager manager = ModelManager.getInstance();
        Model model;
        try {
            model = manager.getModel(name, null);
        } catch (ModelVersionNotFoundException e) {
            model = null;
        }
        out.append(",\"registered\":").append(model != null);
        if (model == null) {
            return;
        }
        out.append(",\"minWorkers\":").append(model.getMinWorkers());
        out.append(",\"maxWorkers\":").append(model.getMaxWorkers());
        out.append(",\"queued\":").append(model.getPendingRequestsInJobQueue());
        out.append(",\"workers\":[");
        String comma = "";
        for (WorkerThread worker : manager.getWorkers(model.getModelVersionName())) {
            out.append(comma).append("{\"id\":\"").append(worker.getWorkerId());
            out.append("\",\"status\":\"").append(status(worker));
            out.append("\",\"pid\":").append(worker.getPid()).append('}');
            comma = ",";
        }
        out.append(']');
    }

    private static String status(WorkerThread worker) {
        WorkerState state = worker.getState();
        if (state == WorkerState.WORKER_MODEL_LOADED && worker.isRunning()) {
            return "READY";
        }
        return state == null || state == WorkerState.WORKER_STARTED ? "LOADING" : "STOPPED";
    }
}
