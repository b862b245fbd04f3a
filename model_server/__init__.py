"""Serves one verified depth model over gRPC.

Comes in: `depth.v1.DepthScoring/Score` calls with one full window each; for tools, calls of the Open Inference Protocol. Goes out:
a Score (index, interval, state, distance, digest, times) or a Problem that names what is wrong with the window; there tensors or a status.
Promises: nothing of a bundle is opened before every byte was checked; ready only after the golden vectors came out right; a bad window
never touches its neighbours in a batch. Owns: torch in serving; no state, no file.
"""
