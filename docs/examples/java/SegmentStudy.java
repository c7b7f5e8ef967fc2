// Sends one T1c in NIfTI to the service, prints the lesions and writes the mask. Research use only; not for diagnosis.
//
//   java -cp ... SegmentStudy 127.0.0.1:8500 study-t1c.nii.gz mask.nii.gz

import brainmets.v1.JobOuterClass.Artifact;
import brainmets.v1.JobOuterClass.ArtifactKind;
import brainmets.v1.JobOuterClass.Job;
import brainmets.v1.JobOuterClass.JobState;
import brainmets.v1.Result.Lesion;
import brainmets.v1.SegmentationServiceGrpc;
import brainmets.v1.SegmentationServiceOuterClass.SegmentStudyRequest;
import brainmets.v1.SegmentationServiceOuterClass.SegmentStudyResponse;
import brainmets.v1.SegmentationServiceOuterClass.SegmentStudyStart;
import brainmets.v1.Study.FileEnd;
import brainmets.v1.Study.FileHeader;
import brainmets.v1.Study.MediaType;
import brainmets.v1.Study.Sequence;
import com.google.protobuf.ByteString;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

public final class SegmentStudy {
    /** The largest message that the service takes, bytes. */
    private static final int CHUNK = 1 << 20;

    public static void main(String[] arguments) throws Exception {
        ManagedChannel channel = ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().build();
        try {
            Answer answer = new Answer();
            StreamObserver<SegmentStudyRequest> call =
                    SegmentationServiceGrpc.newStub(channel).withDeadlineAfter(15, TimeUnit.MINUTES).segmentStudy(answer);
            send(call, Files.readAllBytes(Path.of(arguments[1])));
            Job job = answer.ended.get();
            if (job.getState() != JobState.JOB_STATE_SUCCEEDED) {
                throw new IllegalStateException(job.getState() + ": " + job.getFailure().getStatus().getMessage());
            }
            for (Lesion lesion : job.getResult().getLesionsList()) {
                System.out.printf("lesion %d, %.0f mm³%n", lesion.getLabel(), lesion.getVolumeMm3());
            }
            byte[] mask = answer.content.toByteArray();
            if (!ByteString.copyFrom(sha256(mask)).equals(answer.artifact.getSha256())) {
                throw new IllegalStateException("the mask arrived with another SHA-256; fetch it again");
            }
            Files.write(Path.of(arguments[2]), mask);
            System.out.println("Research use only. Not for diagnosis.");
        } finally {
            channel.shutdownNow();
        }
    }

    /** Sends the start, then the file as header, chunks and its SHA-256, and closes this side. */
    private static void send(StreamObserver<SegmentStudyRequest> call, byte[] file) throws Exception {
        call.onNext(SegmentStudyRequest.newBuilder()
                .setStart(SegmentStudyStart.newBuilder()
                        .setRequestId(UUID.randomUUID().toString())
                        .addArtifacts(ArtifactKind.ARTIFACT_KIND_MASK_NIFTI))
                .build());
        call.onNext(SegmentStudyRequest.newBuilder()
                .setFileHeader(FileHeader.newBuilder()
                        .setMediaType(MediaType.MEDIA_TYPE_NIFTI)
                        .setSequence(Sequence.SEQUENCE_T1C))
                .build());
        for (int start = 0; start < file.length; start += CHUNK) {
            int length = Math.min(CHUNK, file.length - start);
            call.onNext(SegmentStudyRequest.newBuilder().setChunk(ByteString.copyFrom(file, start, length)).build());
        }
        call.onNext(SegmentStudyRequest.newBuilder()
                .setFileEnd(FileEnd.newBuilder().setSha256(ByteString.copyFrom(sha256(file))))
                .build());
        call.onCompleted();
    }

    private static byte[] sha256(byte[] bytes) throws Exception {
        return MessageDigest.getInstance("SHA-256").digest(bytes);
    }

    /** What the service says: the job as it changes, and then the mask. */
    private static final class Answer implements StreamObserver<SegmentStudyResponse> {
        final CompletableFuture<Job> ended = new CompletableFuture<>();
        final ByteArrayOutputStream content = new ByteArrayOutputStream();
        Artifact artifact;
        private Job job;

        @Override
        public void onNext(SegmentStudyResponse response) {
            switch (response.getPayloadCase()) {
                case JOB -> job = response.getJob();
                case ARTIFACT -> artifact = response.getArtifact();
                case CHUNK -> content.writeBytes(response.getChunk().toByteArray());
                default -> { } // of a newer contract
            }
        }

        @Override
        public void onError(Throwable error) {
            ended.completeExceptionally(error);
        }

        @Override
        public void onCompleted() {
            ended.complete(job);
        }
    }
}
