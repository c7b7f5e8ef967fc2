"""What of a study would be read, and why, without sending it: `brainmets inspect`, for people at their own machine."""
