"""The search for thinking: methods, their driver, drafts, rewrites and scores."""
