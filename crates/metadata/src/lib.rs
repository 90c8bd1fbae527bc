//! The cluster's metadata: the image, and the one function that replays records into it.
