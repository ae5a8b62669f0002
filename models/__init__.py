"""The AGFN network, its parts and its weights; knows nothing of realtime/."""
