"""Images, folders, videos and cameras in; depth as files, pictures and points out."""
