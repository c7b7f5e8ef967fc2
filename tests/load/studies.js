// Studies at a steady rate over the published contract: one SegmentStudy call each, from the first byte to the last file.
// Run by study_load.py (`make load`), which gives it the environment; it stops by itself after DURATION.
import { b64encode } from "k6/encoding";
import { check } from "k6";
import { sha256 } from "k6/crypto";
import exec from "k6/execution";
import grpc from "k6/net/grpc";
import { Counter, Trend } from "k6/metrics";

const METHOD = "brainmets.v1.SegmentationService/SegmentStudy";
const study = open(__ENV.STUDY, "b");
const chunk = b64encode(study);
const digest = sha256(study, "base64");
const client = new grpc.Client();
client.load([__ENV.PROTOS], "brainmets/v1/segmentation_service.proto");

const studiesBegun = new Counter("studies_begun");
const studyDuration = new Trend("study_duration", true);
const filesReceived = new Counter("files_received");

export const options = {
  scenarios: {
    studies: {
      executor: "constant-arrival-rate",
      rate: Number(__ENV.PER_MINUTE),
      timeUnit: "1m",
      duration: __ENV.DURATION,
      // A study that is sent holds one of these until it ends. All are there from the start: a new one comes too late for
      // the study that asks for it, which is dropped.
      preAllocatedVUs: 20,
      gracefulStop: "300s",
    },
  },
  thresholds: {
    // The objective of docs/runbooks.md, of every study.
    study_duration: ["p(95)<300000"],
    checks: ["rate==1"],
    // What could not be sent, because all were busy, is load that was not there.
    dropped_iterations: ["count==0"],
  },
  summaryTrendStats: ["count", "min", "med", "p(95)", "max"],
};

export default function () {
  studiesBegun.add(1);
  if (exec.vu.iterationInScenario === 0) {
    client.connect(__ENV.ADDRESS, { plaintext: true });
  }
  const sent = Date.now();
  let state = "";
  let lesions = 0;
  const stream = new grpc.Stream(client, METHOD);
  stream.on("data", (message) => {
    if (message.job) {
      state = message.job.state;
      lesions = message.job.result ? message.job.result.lesions.length : 0;
    }
    if (message.artifact) {
      filesReceived.add(1);
    }
  });
  stream.on("error", (error) => {
    state = `${error.code}: ${error.message}`;
  });
  stream.on("end", () => {
    studyDuration.add(Date.now() - sent);
    check(state, { "the study succeeded": (word) => word === "JOB_STATE_SUCCEEDED" });
    check(lesions, { "its lesion was found": (count) => count === 1 });
  });
  // Another threshold each: what is decided in the same way would come from the cache.
  const threshold = 0.5 + (exec.scenario.iterationInTest + 1) * 1e-5 + Number(__ENV.SEED) * 1e-9;
  stream.write({
    start: {
      options: { threshold: threshold, test: true },
      artifacts: ["ARTIFACT_KIND_MASK_NIFTI", "ARTIFACT_KIND_REPORT_JSON"],
    },
  });
  stream.write({ fileHeader: { fileIndex: 0, mediaType: "MEDIA_TYPE_NIFTI", sequence: "SEQUENCE_T1C" } });
  stream.write({ chunk: chunk });
  stream.write({ fileEnd: { sha256: digest } });
  stream.end();
}

export function handleSummary(data) {
  return { [__ENV.SUMMARY]: JSON.stringify(data, null, 1) };
}
