def write_reports(studies, kept, out):
    return []
