"""OpsGenie and Jira Service Management: Alert API v2."""
